#!/bin/sh
# npm runs this after installing the package. It checks that the included addon works on this host, and
# otherwise builds it. In a checkout, scripts/setup.sh builds the addon.
set -eu
cd "$(dirname "$0")/.."
[ ! -e scripts/setup.sh ] || exit 0
addon=kvm-addon/build/Release/tsvm.node
# The Node to build for: the one among the package's dependencies, not npm's.
node=../node/bin/node
[ -x $node ] || node=node_modules/node/bin/node

loads() {
  [ -f $addon ] && $node -e 'process.dlopen({ exports: {} }, process.argv[1])' "$PWD/$addon" 2>/dev/null
}

! loads || exit 0
for program in cmake g++ make pkg-config; do
  command -v $program >/dev/null && continue
  echo "tsvm: the addon must be built for this host, and $program is missing. On Debian, run:" \
    'apt-get install cmake g++ make pkg-config liburing-dev' >&2
  exit 1
done
headers=$($node -p '["node-api-headers", "node-addon-api"]
  .map((name) => require("node:path").resolve(require(name).include_dir)).join(";")')
rm -rf kvm-addon/build
cmake -S kvm-addon -B kvm-addon/build -DCMAKE_BUILD_TYPE=Release -DCMAKE_JS_INC="$headers" \
  -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$PWD/kvm-addon/build/Release"
cmake --build kvm-addon/build --parallel "$(nproc)"
loads || {
  echo 'tsvm: the addon was built and does not load' >&2
  exit 1
}
