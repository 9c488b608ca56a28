import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type NetConfig, resolveNet } from '../../../vmm/machine/net-config.ts';
import { parseMacAddress } from '../../../vmm/util/mac-address.ts';

const FORWARD = { protocol: 'tcp', address: '127.0.0.1', hostPort: 8080, guestPort: 80 } as const;

test('a network has a MAC address of its own, which resolving again keeps', () => {
  const first = resolveNet({ kind: 'user' });
  const second = resolveNet({ kind: 'user' });
  assert.notEqual(first.mac, second.mac);
  const [byte = 1] = parseMacAddress(first.mac) ?? [];
  assert.equal(byte & 3, 2, 'locally administered, of one station');
  assert.deepEqual(resolveNet(JSON.parse(JSON.stringify(first))), first);
  assert.equal(first.mtu, 65_520);
  const tap = resolveNet({ kind: 'tap', name: 'tap0' });
  assert.equal(tap.mtu, undefined);
  assert.equal(tap.kind === 'tap' && tap.queues, 1);
});

test('a network out of range is refused by name', () => {
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [{}, /"user" or "tap"/],
    [null, /"user" or "tap"/],
    [{ kind: 'bridge' }, /"user" or "tap"/],
    [{ kind: 'user', name: 'x' }, /has no "name"/],
    [{ kind: 'tap' }, /give its name/],
    [{ kind: 'tap', name: 'longer-than-15-characters' }, /15 characters/],
    [{ kind: 'tap', name: 'tap0', queues: 0 }, /0 queues/],
    [{ kind: 'tap', name: 'tap0', queues: 17 }, /17 queues/],
    [{ kind: 'user', mac: '52:54:00:12:34' }, /MAC address/],
    [{ kind: 'user', mac: '01:00:5e:00:00:01' }, /MAC address/],
    [{ kind: 'user', mac: '00:00:00:00:00:00' }, /MAC address/],
    [{ kind: 'user', limits: { bytesPerSecond: 0 } }, /"bytesPerSecond" .* is 0/],
    [{ kind: 'user', limits: { burstBytes: 5 } }, /without "bytesPerSecond"/],
    [{ kind: 'user', limits: { burstOperations: 5 } }, /without "operationsPerSecond"/],
    [{ kind: 'user', limits: { iops: 5 } }, /has no "iops"/],
    [{ kind: 'user', mtu: 67 }, /MTU of 67/],
    [{ kind: 'user', mtu: 65_536 }, /MTU of 65536/],
    [{ kind: 'user', forwards: [{ ...FORWARD, address: 'localhost' }] }, /"localhost"/],
    [{ kind: 'user', forwards: [{ ...FORWARD, hostPort: 0 }] }, /port 0/],
    [{ kind: 'user', forwards: [{ ...FORWARD, guestPort: 65_536 }] }, /port 65536/],
    [{ kind: 'user', forwards: [{ ...FORWARD, protocol: 'sctp' }] }, /"protocol"/],
    [{ kind: 'user', forwards: [FORWARD, FORWARD] }, /forwarded twice/],
  ];
  for (const [net, message] of cases) {
    assert.throws(() => resolveNet(net as NetConfig), { code: 'invalid-config', message });
  }
});
