import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseNet } from '../../../vmm/cli/net-option.ts';

function forward(text: string) {
  const net = parseNet(`user,hostfwd=${text}`);
  assert.equal(net?.kind, 'user');
  return net.forwards?.[0];
}

test('--net: kinds and settings', () => {
  assert.equal(parseNet('none'), undefined);
  assert.deepEqual(parseNet('user'), { kind: 'user', forwards: [] });
  assert.deepEqual(parseNet('user,mac=52:54:00:00:00:01,mtu=1500'), {
    kind: 'user',
    forwards: [],
    mac: '52:54:00:00:00:01',
    mtu: 1500,
  });
  assert.deepEqual(parseNet('tap=tap0,queues=2'), { kind: 'tap', name: 'tap0', queues: 2 });
  assert.deepEqual(parseNet('tap=tap0,spoofing=off'), {
    kind: 'tap',
    name: 'tap0',
    spoofing: false,
  });
});

test('--net user,hostfwd=: loopback and TCP unless it says otherwise', () => {
  const http = { protocol: 'tcp', address: '127.0.0.1', hostPort: 8080, guestPort: 80 };
  assert.deepEqual(forward('8080:80'), http);
  assert.deepEqual(forward('tcp:8080:80'), http);
  assert.deepEqual(forward('tcp::8080:80'), http);
  assert.deepEqual(forward('0.0.0.0:8080:80'), { ...http, address: '0.0.0.0' });
  assert.deepEqual(forward('udp:[::1]:8080:80'), { ...http, protocol: 'udp', address: '::1' });
  const two = parseNet('user,hostfwd=1:2,hostfwd=udp:3:4');
  assert.equal(two?.kind === 'user' && two.forwards?.length, 2);
});

test('--net: rate limits of each direction', () => {
  assert.deepEqual(parseNet('tap=tap0,bps=10M,bps_max=1M,pps=1000,pps_max=10')?.limits, {
    bytesPerSecond: 10 * 2 ** 20,
    burstBytes: 2 ** 20,
    operationsPerSecond: 1000,
    burstOperations: 10,
  });
});

test('--net refuses what it does not know, with what it knows', () => {
  for (const text of [
    '',
    'bridge',
    'tap',
    'tap=',
    'none,mac=52:54:00:00:00:01',
    'user,hostfwd=80',
    'user,hostfwd=::1:80:80',
    'user,hostfwd=tcp:80:http',
    'user,mtu=big',
    'user,pps=0',
    'user,iops=5',
    'user,bps=fast',
    'tap=tap0,hostfwd=80:80',
    'user,queues=2',
    'user,mac',
    'user,',
  ]) {
    assert.throws(() => parseNet(text), { code: 'commander.invalidArgument' }, text);
  }
});
