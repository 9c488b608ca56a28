/** A network device on a tap device, with a driver that behaves and one that does not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NEEDS_ROOT, NetworkNamespace } from '../../support/network-namespace.ts';
import { runPayload } from '../../support/tsvm-process.ts';

for (const without of ['', 'without=event_idx']) {
  test(`frames both ways, wrong frames and rings do no harm ${without}`, NEEDS_ROOT, async (t) => {
    // Without IPv6 the host sends nothing but what it is asked for.
    const setup = `ip tuntap add tap0 mode tap; echo 1 >/proc/sys/net/ipv6/conf/tap0/disable_ipv6
      ip address add 10.9.0.1/24 dev tap0; ip link set tap0 up`;
    const { enter } = await NetworkNamespace.create(t, { setup, isolated: true });
    const { stdout, stderr, code } = await runPayload(
      `tests=net ${without}`,
      ['--net', 'tap=tap0', '--memory', '64M'],
      { through: enter },
    );
    assert.match(stdout, /^done passed=5 failed=0 skipped=0/m, stdout + stderr);
    assert.equal(code, 0);
  });
}
