#!/bin/sh
# Runs the tests: everything, or with --fast all but the real Linux guests. Stops at the first part
# that fails, and skips nothing.
set -eu
cd "$(dirname "$0")/.."
node=node_modules/node/bin/node

say() {
  printf '\n== %s\n' "$*"
}

check() {
  say 'types, format, lint, import directions'
  node_modules/.bin/tsc --noEmit
  node_modules/.bin/biome ci --colors=off --error-on-warnings
  $node scripts/check-imports.ts
  git ls-files '*.c' '*.h' '*.cc' | xargs clang-format --dry-run --Werror
}

test_c() {
  say 'C core under AddressSanitizer and UndefinedBehaviorSanitizer'
  cmake -S kvm-addon -B build/c-tests -DTSVM_TESTS=ON -DCMAKE_BUILD_TYPE=Debug >build/c-tests.log
  cmake --build build/c-tests --parallel "$(nproc)" >>build/c-tests.log || {
    cat build/c-tests.log
    exit 1
  }
  ctest --test-dir build/c-tests --output-on-failure --no-tests=error
}

fuzz_c() {
  say 'C core against fuzzed drivers and bytes, briefly'
  scripts/fuzz.sh 10 1
}

test_node() {
  say "$1"
  shift
  # A test that hangs fails; a real guest may take minutes.
  $node --test --test-reporter=spec --test-timeout=900000 "$@"
}

scripts/setup.sh --test
mkdir -p build
guest-images/payload/build.sh
check
test_c
fuzz_c
test_node 'unit tests' 'test/unit/**/*.test.ts'
test_node 'devices with a fake driver' 'test/device/**/*.test.ts'
test_node 'qcow2 against QEMU, crashes and hostile images' 'test/qcow2/**/*.test.ts'
test_node 'machines with the bare-metal payload' 'test/boot/payload/**/*.test.ts'
if [ "${1-}" != --fast ]; then
  # Two guests at a time would share the cores that each is measured against.
  test_node 'machines with Linux' --test-concurrency=1 'test/boot/linux/**/*.test.ts'
fi
say 'all tests passed'
