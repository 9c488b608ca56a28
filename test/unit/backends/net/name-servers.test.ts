import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guestNameServers } from '../../../../vmm/backends/net/name-servers.ts';

test('a guest uses the host’s name servers unless all of them are on loopback', () => {
  const byPasst = { servers: [], mapsGateway: false };
  assert.deepEqual(guestNameServers({ configured: ['192.0.2.1'], upstream: ['9.9.9.9'] }), byPasst);
  assert.deepEqual(
    guestNameServers({ configured: ['127.0.0.53', '192.0.2.1'], upstream: [] }),
    byPasst,
  );
  assert.deepEqual(guestNameServers({ configured: [], upstream: [] }), byPasst);
});

test('a resolver on loopback: the servers that it asks, else the way through the gateway', () => {
  assert.deepEqual(
    guestNameServers({ configured: ['127.0.0.53'], upstream: ['192.0.2.1', '2001:db8::1'] }),
    { servers: ['192.0.2.1', '2001:db8::1'], mapsGateway: false },
  );
  for (const upstream of [[], ['127.0.0.1', '::1']]) {
    assert.deepEqual(guestNameServers({ configured: ['127.0.0.53', '::1'], upstream }), {
      servers: [],
      mapsGateway: true,
    });
  }
});
