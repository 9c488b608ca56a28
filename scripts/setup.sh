#!/bin/sh
# Makes this checkout ready to run: Debian packages, node_modules, the native addon, the default guest
# and the bundled CLI. Skips finished steps; takes about 0.1 s when there is nothing to do.
#
#   scripts/setup.sh             what `npm start` needs
#   scripts/setup.sh --kernel    also the tuned kernel, which takes minutes to compile
#   scripts/setup.sh --test      also what tests and benchmarks need
#   scripts/setup.sh --package   what `npm pack` puts into the package: no default guest
#
# Writes only to standard error and reads no input, so that a guest started afterwards has the caller's
# standard input and output to itself.
set -eu
cd "$(dirname "$0")/.."
exec </dev/null >&2

# All Debian packages in use, with their set and purpose.
packages() {
  cat <<'LIST'
run  gcc                  compiles the addon and programs for guests
run  g++                  compiles the addon's Node-API layer
run  make                 drives the addon's build
run  cmake                configures the addon's build, for cmake-js
run  pkg-config           finds liburing for cmake
run  liburing-dev         io_uring for the addon's block data plane
run  kmod                 depmod, for the modules of the default guest's kernel
run  xz-utils             unpacks them
run  busybox-static       user space of the default guest
run  musl-tools           compiles the guest agent, statically and small
run  e2fsprogs            makes its root disk; checks disks in tests
test qemu-system-x86      the yardstick of the benchmarks; emulates hosts with AMD-V for tests
test qemu-utils           makes and checks disk images
test fio                  measures the host's disk for the benchmarks
test clang                builds the C core's tests and fuzzers
test libclang-rt-14-dev   address and undefined-behaviour sanitizers
test clang-format         checks the C code's format
test acpica-tools         disassembles our ACPI tables
test binutils             readelf and objdump, to check firmware and payload
test bzip2                packs kernels for the loader's tests, as do the next four
test lzop                 .
test lz4                  .
test zstd                 .
test cpio                 packs initrds
test dosfstools           makes FAT file systems, for the search for kernels on disks
test mtools               fills them
test xfsprogs             makes XFS
test btrfs-progs          makes btrfs
test gdisk                makes partition tables (GPT)
test fdisk                sfdisk, for those of PCs (MBR)
test grub-common          grub-mkconfig
test mmdebstrap           makes Debian guests
test skopeo               the other client of registries in tests
test umoci                unpacks images, to compare trees with
test podman               the yardstick for pull and load, and of what containers print
test runc                 runs podman's containers, where it would choose crun
test slirp4netns          their published ports, in a benchmark
test uidmap               gives an ordinary user's shared folders files of several owners
test docker-registry      a registry for tests
test erofs-utils          checks root file systems; the yardstick for making them
test apache2-utils        htpasswd, for a registry that wants a login
test python3-prometheus-client   parses Prometheus' text format
test openssl              certificates for it
test passt                networks for guests (--net user)
test dnsmasq-base         a name server for tests
test iproute2             tap devices and network namespaces
test iperf3               measures networks
test curl                 talks to published ports
test gdb                  a debugger for guests (--gdb)
test attr                 setfattr, to make and read extended attributes
tune linux-source-6.12    source of the tuned kernel
tune flex                 Kconfig's scanner
tune bison                Kconfig's parser
tune bc                   computes constants of the kernel's timers
tune libelf-dev           objtool, which checks the kernel's object files
boot linux-image-6.12-cloud-amd64   the kernel of the default guest and of emulated hosts: not installed
LIST
}

say() {
  printf 'tsvm set-up: %s\n' "$*"
}

fail() {
  say "$*"
  exit 1
}

# True if any of the files and folders "$2"... is newer than the file "$1", or "$1" is missing.
outdated() {
  product=$1
  shift
  [ ! -e "$product" ] || [ -n "$(find "$@" -newer "$product" -print -quit)" ]
}

# Prints the packages of the sets in "$1" that are not installed.
missing_packages() {
  wanted=$(packages | while read -r set name _; do
    case " $1 " in *" $set "*) echo "$name" ;; esac
  done)
  # dpkg-query fails if it does not know a name, but still lists the installed packages.
  # shellcheck disable=SC2086
  installed=$(dpkg-query --show --showformat='${Package}=${db:Status-Status}\n' $wanted 2>&1) || :
  for name in $wanted; do
    case "$installed" in *"$name=installed"*) ;; *) echo "$name" ;; esac
  done
}

install_packages() {
  command -v dpkg-query >/dev/null ||
    fail 'This needs Debian 12 (no dpkg-query found). Elsewhere, install the packages that' \
      'scripts/setup.sh lists by hand.'
  missing=$(missing_packages "$1" | tr '\n' ' ')
  [ -n "$missing" ] || return 0
  command="apt-get install --yes --no-install-recommends $missing"
  if [ "$(id -u)" != 0 ]; then
    fail "Debian packages are missing. As root, run: apt-get update && $command"
  fi
  say "installing Debian packages: $missing"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q -o DPkg::Lock::Timeout=600 ||
    fail 'apt-get update failed. Check the network and /etc/apt/sources.list, then try again.'
  $command -q -o DPkg::Lock::Timeout=600 ||
    fail "apt-get failed (see above). Fix the problem, then try again or run: $command"
}

# Prints the cache folder, or nothing if there is none.
cache_folder() {
  node_modules/node/bin/node --input-type=module -e \
    'process.stdout.write((await import("./vmm/host/folders.ts")).cacheFolder() ?? "")'
}

# Unpacks Debian's kernel package, with its modules, into the cache.
fetch_cloud_kernel() {
  folder=$(cache_folder)/cloud-kernel
  [ ! -d "$folder" ] || return 0
  package=$(packages | sed -n 's/^boot \([^ ]*\).*/\1/p')
  say "fetching Debian's kernel ($package)"
  draft=$folder.$$
  mkdir -p "$draft"
  trap 'rm -rf "$draft"' EXIT
  if ! download_kernel "$package" "$draft"; then
    command='apt-get update'
    [ "$(id -u)" = 0 ] || fail "$package cannot be downloaded. As root, run: $command"
    $command -q -o DPkg::Lock::Timeout=600 && download_kernel "$package" "$draft" ||
      fail "$package cannot be downloaded (see above). Check the network, then try again."
  fi
  dpkg-deb --extract "$draft"/*.deb "$draft"
  rm "$draft"/*.deb
  # The set-up of another checkout may have unpacked it meanwhile.
  mv -T "$draft" "$folder" 2>/dev/null || [ -d "$folder" ]
}

# Downloads into "$2" the kernel package that the metapackage "$1" depends on.
download_kernel() {
  kernel=$(apt-cache depends "$1" | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p')
  [ -n "$kernel" ] && (cd "$2" && apt-get download -q -o APT::Sandbox::User=root "$kernel")
}

install_node_modules() {
  stamp=node_modules/.package-lock.json
  [ -x node_modules/node/bin/node ] && ! outdated $stamp package-lock.json && return 0
  command -v npm >/dev/null || fail 'npm is not installed. Install Node.js 20 or newer with npm.'
  say 'installing node_modules (npm ci)'
  npm ci --no-audit --no-fund ||
    fail 'npm ci failed (see above). Check the network, then try again.'
  touch $stamp
}

build_addon() {
  addon=kvm-addon/build/Release/tsvm.node
  sources='kvm-addon/CMakeLists.txt kvm-addon/include kvm-addon/src firmware'
  # shellcheck disable=SC2086
  outdated $addon $sources node_modules/.package-lock.json || return 0
  say 'building the native addon (cmake-js)'
  node_modules/.bin/cmake-js build -d kvm-addon ||
    fail 'The addon did not build (see above). To start afresh: rm -r kvm-addon/build'
  touch $addon
}

# The library for programs that import tsvm: JavaScript with types.
build_library() {
  outdated dist/lib/vmm/index.js vmm kvm-addon/index.d.ts kvm-addon/types tsconfig.json tsconfig.build.json \
    node_modules/.package-lock.json || return 0
  say 'building the library (tsc)'
  rm -rf dist/lib
  node_modules/.bin/tsc -p tsconfig.build.json ||
    fail 'tsc could not build the library (see above); fix the source that it names.'
  # Its types refer to those of the addon.
  mkdir -p dist/lib/kvm-addon
  cp -r kvm-addon/index.d.ts kvm-addon/types dist/lib/kvm-addon/
  touch dist/lib/vmm/index.js
}

bundle_cli() {
  outdated dist/tsvm.cjs vmm guest-images/default-guest.ts scripts/bundle*.ts scripts/train*.ts \
    node_modules/.package-lock.json || return 0
  say 'bundling the command line program (esbuild)'
  node_modules/node/bin/node scripts/bundle.ts ||
    fail 'esbuild could not bundle vmm/ (see above); fix the source that it names.'
  touch dist/tsvm.cjs
}

build_guest() {
  pointer=dist/default-guest.json
  upgrades=/var/lib/dpkg/info
  inputs="guest-images/*.ts guest-images/agent guest-images/kernel guest-images/modules"
  inputs="$inputs guest-images/rootfs"
  for package in linux-source-6.12 busybox-static musl-tools; do
    [ ! -e $upgrades/$package.list ] || inputs="$inputs $upgrades/$package.list"
  done
  # shellcheck disable=SC2086
  if [ $# = 0 ] && ! outdated $pointer $inputs; then
    sed -n 's/^ *"[a-zA-Z]*Path": "\(.*\)",\{0,1\}$/\1/p' $pointer | (
      while read -r file; do [ -f "$file" ] || exit 1; done
    ) && return 0
  fi
  say 'preparing the default guest'
  [ $# != 0 ] || fetch_cloud_kernel
  node_modules/node/bin/node guest-images/build.ts "$@" ||
    fail 'The default guest was not built (see above). Fix the problem, then try again.'
}

# Checks /dev/kvm before downloads and builds. "tsvm doctor" checks the rest.
look_at_kvm() {
  [ -e /dev/kvm ] ||
    fail '/dev/kvm is missing. Load the module ("modprobe kvm_intel" or "modprobe kvm_amd"); in a' \
      'virtual machine, enable nested virtualization; in a container, add --device /dev/kvm.'
  [ -c /dev/kvm ] || fail '/dev/kvm is not a device. Remove it, then load the module again.'
  (: <>/dev/kvm) 2>/dev/null && return 0
  if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
    fail "You may not use /dev/kvm: $(ls -l /dev/kvm). Join its group (\"sudo usermod -aG kvm" \
      "\$USER\", then log in again); if that is root's: \"sudo chgrp kvm /dev/kvm\" and" \
      '"sudo chmod 660 /dev/kvm" first.'
  fi
  fail '/dev/kvm cannot be opened. In a container, it must be given the device (docker: --device' \
    '/dev/kvm); otherwise another hypervisor may be using VT-x or AMD-V (see "dmesg").'
}

sets=run
case "${1-}" in
'') look_at_kvm ;;
--kernel) sets='run tune' ;;
--test) sets='run test' ;;
--package) ;;
*) fail "unknown argument $1; use --kernel, --test or --package" ;;
esac

# Only one set-up per checkout at a time: `npm start` and `npm test` may run concurrently.
mkdir -p dist
exec 9>dist/.setup-lock
flock --nonblock 9 || { say 'waiting for another set-up to finish'; flock 9; }

install_packages "$sets"
install_node_modules
build_addon
build_library
if [ "${1-}" = --package ]; then
  bundle_cli
  exit
fi
case $sets in
*tune*) build_guest --tuned-kernel ;;
*) build_guest ;;
esac
# After the guest: a container of it is run to learn which functions that needs.
bundle_cli
case $sets in *test*) fetch_cloud_kernel ;; esac
