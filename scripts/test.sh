#!/bin/sh
# Runs all tests. --fast omits Linux guests and emulated hosts and shortens long tests. When a part fails,
# the others still run; the end names those that failed, with the errors of their tests. Stops at once
# when something does not build.
set -eu
cd "$(dirname "$0")/.."
node=node_modules/node/bin/node

# Sizes of the open-ended tests with --fast; see test/qcow2/run-plans.ts.
fast_sizes='TSVM_QCOW2_OPERATIONS=600 TSVM_QCOW2_CRASH_STREAMS=3 TSVM_QCOW2_KILLS=14
TSVM_QCOW2_MACHINE_KILLS=10 TSVM_QCOW2_FUZZ_CASES=200 TSVM_ROOTFS_SEEDS=20 TSVM_IMAGE_KILLS=10
TSVM_IMAGE_FUZZ_SECONDS=2 TSVM_DISK_BOOT_FUZZ_CASES=15'
fuzz_seconds=10
guest_code_fuzz_seconds=60

say() {
  printf '\n== %s\n' "$*"
}

# Names of the parts that failed, one per line.
failed=
# What Node's test runner says of each part, in a file with the part's name.
reports=build/test-reports

# Runs a part of the tests: its name, then a command, which is also given the name.
part() {
  part=$1
  command=$2
  shift 2
  # As the operand of || or !, the command would ignore -e.
  set +e
  (set -e; "$command" "$part" "$@")
  result=$?
  set -e
  [ "$result" = 0 ] || part_failed "$part"
}

part_failed() {
  say "failed: $1"
  failed="$failed$1
"
}

check() {
  say "$1"
  node_modules/.bin/tsc --noEmit
  node_modules/.bin/biome ci --colors=off --error-on-warnings
  $node scripts/check-imports.ts
  git ls-files '*.c' '*.h' '*.cc' | xargs clang-format --dry-run --Werror
}

build_c() {
  say 'building the tests of the C core'
  cmake -S kvm-addon -B build/c-tests -DTSVM_TESTS=ON -DCMAKE_BUILD_TYPE=Debug >build/c-tests.log
  cmake --build build/c-tests --parallel "$(nproc)" >>build/c-tests.log || {
    cat build/c-tests.log
    exit 1
  }
}

test_c() {
  say "$1"
  ctest --test-dir build/c-tests --parallel "$(nproc)" --output-on-failure --no-tests=error
}

fuzz_c() {
  say "$1"
  TSVM_FUZZ_GUEST_CODE_SECONDS=$guest_code_fuzz_seconds scripts/fuzz.sh $fuzz_seconds 1
}

# `$run` is a command that replaces the current subshell.
run=
test_node() {
  name=$1
  say "$name"
  shift
  # One file per core at a time, and one for the times that tests wait. The compile cache helps, because
  # hundreds of processes load the same modules. A test that hangs fails; a real guest may take minutes.
  # V8 compiles on one thread: Node can hang at an exit while another compiles (nodejs/node#54918).
  $run env NODE_COMPILE_CACHE="$PWD/build/node-compile-cache" \
    $node --no-concurrent-sparkplug --no-concurrent-recompilation \
    --test --test-reporter=spec --test-reporter-destination=stdout \
    --test-reporter=spec --test-reporter-destination="$reports/$name" --test-timeout=900000 \
    --test-concurrency=$(($(nproc) + 1)) "$@"
}

# Starts the emulated hosts in the background, this many at a time; each takes a core. With a low
# priority, they take what the other tests leave idle.
emulated_hosts='emulated hosts with AMD-V'
emulating=
start_hardware() {
  # A single file with a time limit for each host.
  (run='exec nice -n 10' TSVM_EMULATED_HOSTS=$1 && export TSVM_EMULATED_HOSTS &&
    test_node "$emulated_hosts" --test-timeout=7200000 'test/hardware/*.test.ts') \
    >build/hardware.log 2>&1 &
  emulating=$!
  trap 'kill $emulating 2>/dev/null || :' EXIT
}

case "${1-}" in
'') ;;
--fast)
  # shellcheck disable=SC2086
  export $fast_sizes
  fuzz_seconds=1
  guest_code_fuzz_seconds=1
  say "fast: no Linux guests, no emulated hosts; in small: fuzzers of the C core for $fuzz_seconds s each," $fast_sizes
  ;;
*)
  echo "unknown argument $1; the only one is --fast" >&2
  exit 2
  ;;
esac

scripts/setup.sh --test
rm -rf "$reports"
mkdir -p "$reports"
guest-images/payload/build.sh
checks='types, format, lint, import directions'
(check "$checks") >build/check.log 2>&1 &
checking=$!
build_c
part 'C core under AddressSanitizer and UndefinedBehaviorSanitizer' test_c
result=0
wait $checking || result=$?
cat build/check.log
[ "$result" = 0 ] || part_failed "$checks"
if [ "${1-}" != --fast ] && [ "$(nproc)" -ge 4 ]; then
  start_hardware $(($(nproc) / 2))
fi
part 'C core against fuzzed drivers and bytes, briefly' fuzz_c
part 'unit tests' test_node 'test/unit/**/*.test.ts'
part 'devices with a fake driver' test_node 'test/device/**/*.test.ts'
part 'qcow2 against QEMU, crashes and hostile images' test_node 'test/qcow2/**/*.test.ts'
part 'containers and their images' test_node 'test/container/**/*.test.ts'
part 'machines with the bare-metal payload' test_node 'test/boot/payload/**/*.test.ts'
if [ "${1-}" != --fast ]; then
  [ -n "$emulating" ] || start_hardware "$(nproc)"
  # One guest at a time, because concurrent guests would distort the timing. The time limit is for a file,
  # and some fetch kernels or make a Debian first.
  part 'machines with Linux' test_node --test-concurrency=1 --test-timeout=2700000 \
    'test/boot/linux/**/*.test.ts'
  result=0
  wait "$emulating" || result=$?
  cat build/hardware.log
  [ "$result" = 0 ] || part_failed "$emulated_hosts"
fi
if [ -n "$failed" ]; then
  printf '%s' "$failed" | while read -r part; do
    say "errors of: $part"
    [ ! -f "$reports/$part" ] || sed -n '/^✖ failing tests:/,$p' "$reports/$part"
  done
  say 'tests failed:'
  printf '%s' "$failed"
  exit 1
fi
say 'all tests passed'
