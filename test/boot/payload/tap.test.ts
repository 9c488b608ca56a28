/** A network device on a tap device, with a driver that behaves and one that does not. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { NEEDS_ROOT, NetworkNamespace } from '../../support/network-namespace.ts';
import { runPayload, temporaryFolder } from '../../support/tsvm-process.ts';

/** The driver's words, the settings of the network, and how many forged frames must not pass. */
const CASES = [
  ['', '', 0],
  ['without=event_idx', '', 0],
  ['', ',mac=02:00:00:00:00:01,spoofing=off', 6],
] as const;

for (const [words, settings, spoofed] of CASES) {
  test(
    `frames both ways, wrong frames and rings do no harm ${words}${settings}`,
    NEEDS_ROOT,
    async (t) => {
      // Without IPv6 the host sends nothing but what it is asked for.
      const setup = `ip tuntap add tap0 mode tap; echo 1 >/proc/sys/net/ipv6/conf/tap0/disable_ipv6
      ip address add 10.9.0.1/24 dev tap0; ip link set tap0 up`;
      const { enter } = await NetworkNamespace.create(t, { setup, isolated: true });
      const metrics = join(temporaryFolder(t), 'metrics.json');
      const { stdout, stderr, code } = await runPayload(
        `tests=net ${words}`,
        ['--net', `tap=tap0${settings}`, '--memory', '64M', '--metrics', metrics],
        { through: enter },
      );
      assert.match(stdout, /^done passed=6 failed=0 skipped=0/m, stdout + stderr);
      assert.equal(code, 0);
      const [, count] = /"spoofedFrames": ?(\d+)/.exec(readFileSync(metrics, 'utf8')) ?? [];
      // Other tests send frames from the address zero.
      if (spoofed === 0) assert.equal(Number(count), 0);
      else assert.ok(Number(count) >= spoofed, count);
    },
  );
}
