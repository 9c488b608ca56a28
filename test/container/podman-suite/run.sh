#!/bin/bash
# Runs podman's own system tests with tsvm: run.sh LIBPOD_SOURCE [FILE[:TEST]...], see README.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source=${1:?the folder of the unpacked Debian source package libpod}
shift
suite=$source/test/system
[ -f "$suite/helpers.bash" ] || {
  echo "$suite has no helpers.bash" >&2
  exit 2
}
for program in bats jq busybox socat; do
  command -v $program >/dev/null || {
    echo "$program is missing: apt-get install bats jq busybox-static socat" >&2
    exit 2
  }
done
[ $# -gt 0 ] || mapfile -t -O 0 files < <(grep -v '^#' "$here/files.txt")
[ $# -eq 0 ] || files=("$@")

work=$(mktemp -d --tmpdir tsvm-podman-suite.XXXXXX)
export TSVM=$here/../../../bin/tsvm PODMAN=$here/tsvm-as-podman
export TSVM_DATA_FOLDER=$work/data TSVM_RUNTIME_FOLDER=$work/run BATS_TMPDIR=$work TMPDIR=$work
export XDG_CONFIG_HOME=$work/config DOCKER_CONFIG=$work/docker
cleanup() {
  "$PODMAN" rm -fa >/dev/null || :
  "$TSVM" network prune -f >/dev/null || :
  rm -rf "$work"
}
trap cleanup EXIT

# The suite's client of ports.
mkdir "$work/bin"
ln -s "$(command -v busybox)" "$work/bin/nc"
PATH=$work/bin:$PATH

# The suite's image is busybox with a few files.
root=$work/root
mkdir -p "$root"/{bin,dev,etc,home/podman,proc,root,run,sbin,sys,tmp,usr/bin,usr/sbin,var/lib,var/tmp}
chmod 1777 "$root"/tmp "$root"/var/tmp
cp "$(command -v busybox)" "$root/bin/busybox"
for name in $(busybox --list); do
  [ "$name" = busybox ] || ln -s busybox "$root/bin/$name"
done
ln -s ../../bin/env "$root/usr/bin/env"
# Of Alpine's busybox, not of Debian's.
ln -s busybox "$root/bin/busybox-extras"
printf '#!/bin/sh\nif [ $# = 0 ]; then exec env; fi\neval "echo \\"\$$1\\""\n' >"$root/bin/printenv"
chmod 755 "$root/bin/printenv"
echo 20220615 >"$root/home/podman/testimage-id"
touch --date=@1600000000 "$root/home/podman/testimage-id"
printf '#!/bin/sh\necho Confirmed: testimage pause invoked as $0\nwhile :; do\n    sleep 0.1\ndone\n' >"$root/home/podman/pause"
chmod 755 "$root/home/podman/pause"
printf 'root:x:0:0:root:/root:/bin/sh\ndaemon:x:2:2:daemon:/sbin:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
printf 'root:x:0:root\ndaemon:x:2:daemon\nnobody:x:65534:\n' >"$root/etc/group"
printf 'NAME="Alpine Linux"\nID=alpine\n' >"$root/etc/os-release"
tar -C "$root" --owner=0 --group=0 --numeric-owner -cf "$work/root.tar" .
"$TSVM" import -c 'LABEL created_by=test/system/build-testimage' -c "LABEL created_at=$(date -u +%FT%TZ)" \
  -c 'WORKDIR /home/podman' -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
  -c 'CMD ["/bin/echo", "This container is intended for podman CI testing"]' \
  "$work/root.tar" quay.io/libpod/testimage:20220615 >/dev/null
rm -r "$root" "$work/root.tar"
export SUITE_IMAGE=$work/image.tar
"$TSVM" save -o "$SUITE_IMAGE" quay.io/libpod/testimage:20220615

cd "$suite"
for entry in "${files[@]}"; do
  file=${entry%%:*}
  filter=()
  [ "$file" = "$entry" ] || filter=(--filter "${entry#*:}")
  echo "== $file"
  bats --tap ${filter[@]+"${filter[@]}"} "$file" || :
done
