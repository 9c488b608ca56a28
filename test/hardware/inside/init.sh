#!/bin/sh
# The first program of the emulated host: loads KVM, runs the tests that the command line names
# (tests=FILE,FILE...) and switches off. What it says goes to the first serial port, the results of
# the tests to the second.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
$b mkdir -p /dev/pts /dev/shm
$b mount -t devpts devpts /dev/pts
$b mount -t tmpfs shm /dev/shm
$b ln -s /proc/self/fd /dev/fd
$b ln -s /proc/mounts /etc/mtab
$b --install -s /busybox
export PATH=/usr/bin:/bin:/busybox HOME=/root TERM=linux
ip link set lo up
for module in /modules/*.ko; do
  insmod "$module"
done
stty -F /dev/ttyS1 raw -echo
cd "$(cat /checkout)"
# Tests that can go on for ever, in small, and with the time that its guests need here.
export TSVM_QCOW2_MACHINE_KILLS=4 TSVM_QCOW2_LIFE_MS=10000 TSVM_HOTPLUG_ROUNDS=5
export NODE_COMPILE_CACHE="$PWD/build/node-compile-cache"
tests=$(sed -n 's/.* tests=\([^ ]*\).*/\1/p' /proc/cmdline | tr , ' ')
# shellcheck disable=SC2086
node_modules/node/bin/node test/hardware/inside/run-tests.ts $tests >/dev/ttyS1
poweroff -f
