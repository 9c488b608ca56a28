import assert from 'node:assert/strict';
import { test } from 'node:test';
import { listsDefaultRoute } from '../../../../vmm/backends/net/default-route.ts';

const HEADER =
  'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT';
const SUBNET = 'eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0';
const DEFAULT = 'eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0';
const HALF = 'tun0\t00000000\t010200C0\t0003\t0\t0\t0\t00000080\t0\t0\t0';
const ZERO = '0'.repeat(32);
const REFUSES = `${ZERO} 00 ${ZERO} 00 ${ZERO} ffffffff 00000001 00000000 00200200       lo`;
const GATEWAY = 'fd000000000000000000000000000001';
const DEFAULT6 = `${ZERO} 00 ${ZERO} 00 ${GATEWAY} 00000400 00000001 00000000 00000003     eth0`;

test('a default route is found in the kernel’s tables', () => {
  assert.equal(listsDefaultRoute('', ''), false);
  assert.equal(listsDefaultRoute(`${HEADER}\n${SUBNET}\n`, `${REFUSES}\n`), false);
  assert.equal(listsDefaultRoute(`${HEADER}\n${HALF}\n`, ''), false);
  assert.equal(listsDefaultRoute(`${HEADER}\n${SUBNET}\n${DEFAULT}\n`, ''), true);
  assert.equal(listsDefaultRoute(HEADER, `${REFUSES}\n${DEFAULT6}\n`), true);
});
