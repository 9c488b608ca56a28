#!/bin/sh
# Fuzzes the C core under AddressSanitizer and UndefinedBehaviorSanitizer, each fuzzer in turn.
#
#   scripts/fuzz.sh [SECONDS [SEED]]   seconds for each fuzzer, 180 unless told
#
# Inputs that reach new code are kept in build/fuzz/<fuzzer>/ for the next run. A crash ends the script;
# its input is kept there too.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-180}
seed=${2:-$(date +%s)}

build() {
  cmake -S kvm-addon -B build/c-fuzz -DTSVM_TESTS=ON -DTSVM_FUZZ=ON -DCMAKE_C_COMPILER=clang \
    -DCMAKE_BUILD_TYPE=RelWithDebInfo &&
    cmake --build build/c-fuzz --parallel "$(nproc)"
}

mkdir -p build
build >build/c-fuzz.log 2>&1 || {
  cat build/c-fuzz.log
  exit 1
}
for fuzzer in build/c-fuzz/test/*_fuzz; do
  name=$(basename "$fuzzer")
  corpus=build/fuzz/$name
  mkdir -p "$corpus"
  printf '%s: %s s, seed %s\n' "$name" "$seconds" "$seed"
  "$fuzzer" -max_total_time="$seconds" -seed="$seed" -timeout=10 -print_final_stats=1 \
    -verbosity=0 -artifact_prefix="$corpus-" "$corpus" >"$corpus.log" 2>&1 || {
    cat "$corpus.log"
    printf '%s crashed; to see it again: %s %s\n' "$name" "$fuzzer" \
      "$(ls -t "$corpus"-* | head -n 1)"
    exit 1
  }
  sed -n 's/^stat::number_of_executed_units: */  inputs tried: /p' "$corpus.log"
done
