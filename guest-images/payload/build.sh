#!/bin/sh
# build.sh [DIRECTORY]: builds payload.elf into DIRECTORY (default: build/payload of this tree).
set -eu
here=$(dirname "$(realpath "$0")")
out=$(realpath -m "${1:-$here/../../build/payload}")
exec make --silent -C "$here" -j "$(nproc)" "OUT=$out"
