#!/bin/sh
# Fuzzes the C core under AddressSanitizer and UndefinedBehaviorSanitizer, with one fuzzer per core at a
# time.
#
#   scripts/fuzz.sh [SECONDS [SEED]]   seconds for each fuzzer (180)
#
# TSVM_FUZZ_GUEST_CODE_SECONDS: seconds for the fuzzers of the engine's code streams, decoder and page
# walk, which go on finding new paths for longer (SECONDS).
#
# Inputs that reach new code are kept in build/fuzz/<fuzzer>/ for the next run, and so are inputs that
# crash a fuzzer. After a crash no other fuzzer is started.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-180}
seed=${2:-$(date +%s)}

build() {
  cmake -S kvm-addon -B build/c-fuzz -DTSVM_TESTS=ON -DTSVM_FUZZ=ON -DCMAKE_C_COMPILER=clang \
    -DCMAKE_BUILD_TYPE=RelWithDebInfo &&
    cmake --build build/c-fuzz --parallel "$(nproc)"
}

# Runs one fuzzer and prints its result.
run() {
  fuzzer=$1
  name=$(basename "$fuzzer")
  corpus=build/fuzz/$name
  case $name in
  engine_code_fuzz | engine_decode_fuzz | engine_walk_fuzz)
    seconds=${TSVM_FUZZ_GUEST_CODE_SECONDS:-$seconds}
    ;;
  esac
  mkdir -p "$corpus"
  "$fuzzer" -max_total_time="$seconds" -seed="$seed" -timeout=10 -print_final_stats=1 \
    -verbosity=0 -artifact_prefix="$corpus-" "$corpus" >"$corpus.log" 2>&1 || {
    cat "$corpus.log"
    printf '%s crashed; to see it again: %s %s\n' "$name" "$fuzzer" \
      "$(ls -t "$corpus"-* | head -n 1)"
    exit 255 # xargs(1) starts no more
  }
  tried=$(sed -n 's/^stat::number_of_executed_units: *//p' "$corpus.log")
  printf '%s: %s s, seed %s, %s inputs tried\n' "$name" "$seconds" "$seed" "$tried"
}

if [ -n "${3-}" ]; then
  run "$3"
  exit
fi
mkdir -p build
build >build/c-fuzz.log 2>&1 || {
  cat build/c-fuzz.log
  exit 1
}
# This script runs itself for each of them, with its name as the third argument.
printf '%s\n' build/c-fuzz/test/*_fuzz |
  xargs -P "$(nproc)" -n 1 scripts/fuzz.sh "$seconds" "$seed"
