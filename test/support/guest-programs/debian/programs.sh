#!/bin/sh
# Programs of Debian's, one after the other: a line `ok NAME`, with what it printed last, or
# `not ok NAME` and all that it printed. Arguments of stress-ng: workers and seconds for each group.
workers=$1
seconds=$2
here=/usr/lib/debian-programs
export HOME=/tmp PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin TMPDIR=/tmp
cd /tmp || exit 1

try() {
  name=$1
  shift
  if "$@" >/tmp/output 2>&1; then
    echo "ok $name $(tail -n 1 /tmp/output)"
  else
    echo "not ok $name: status $?"
    cat /tmp/output
  fi
}

# Stressors that run at the same time, each with so many workers.
stress() {
  group=$1
  shift
  options=
  for stressor; do
    options="$options --$stressor $workers"
  done
  # shellcheck disable=SC2086
  try "stress-$group" stress-ng --verify --timeout "$seconds" --vm-bytes 24M --mmap-bytes 16M \
    --malloc-bytes 8M --mremap-bytes 8M --no-rand-seed $options
}

compile_and_run() {
  x86_64-linux-gnu-gcc-12 -O2 -Wall -o sum "$here/sum.c" && ./sum
}

try perl perl -e 'my %s; $s{$_ % 997} += $_ for 1 .. 300000;
  my $t = 0; $t += $_ * $s{$_} for keys %s; print "$t\n"'
try python3 python3.11 -c 'import hashlib, json, re, subprocess, threading
totals = [0] * 4
def add(k): totals[k] = sum(x * (x % 997) for x in range(k + 1, 300001, 4))
threads = [threading.Thread(target=add, args=(k,)) for k in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
assert json.loads(json.dumps({"a": [1, 2.5]}))["a"][1] == 2.5
assert hashlib.sha256(b"abc").hexdigest().startswith("ba7816bf")
assert subprocess.run(["true"]).returncode == 0
print(sum(totals))'
try gcc compile_and_run
try node node -e 'let t = 0; for (let x = 1; x <= 300000; x++) t += x * (x % 997); console.log(t)'
stress cpu cpu matrix fp vecmath qsort str
stress memory memcpy malloc vm mmap mremap mprotect
stress processes fork vfork clone exec pthread switch
stress signals signal sigsegv sigfpe sigrt futex timer
stress caches cache icache tlb-shootdown atomic pipe fault
echo 'programs: done'
