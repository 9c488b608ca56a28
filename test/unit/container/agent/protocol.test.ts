import { deepEqual, equal, throws } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  AGENT_PORT,
  type AgentErrorCode,
  NAME_PORTS,
  PUBLISHED_PORT_BASE,
} from '../../../../vmm/container/agent/agent.ts';
import { capabilityMask } from '../../../../vmm/container/agent/capabilities.ts';
import * as protocol from '../../../../vmm/container/agent/protocol.ts';
import {
  addressBytes,
  processFields,
  rootFields,
} from '../../../../vmm/container/agent/requests.ts';
import { packageRoot } from '../../../../vmm/util/package-root.ts';

const HEADER = readFileSync(join(packageRoot(), 'guest-images/agent/protocol.h'), 'utf8');

/** The numbers of the header's enumerations, and of its plain definitions. */
function headerNumbers(): Map<string, number> {
  const numbers = new Map<string, number>();
  for (const [, name = '', value] of HEADER.matchAll(/\b([A-Z][A-Z_]+) = (\d+)/g)) {
    numbers.set(name, Number(value));
  }
  for (const [, name = '', value] of HEADER.matchAll(/#define ([A-Z_]+) (\d+)$/gm)) {
    // As in C, a zero before others makes it octal.
    numbers.set(name, Number(value?.replace(/^0(?=.)/, '0o')));
  }
  return numbers;
}

test('protocol.ts has the numbers of protocol.h', () => {
  const header = headerNumbers();
  const { ERROR_CODES, MOUNT_TYPES, EVENT_OOM, PROTOCOL_VERSION, ...groups } = protocol;
  const ours = new Map<string, number>();
  for (const [group, members] of Object.entries(groups)) {
    if (typeof members !== 'object') continue;
    for (const [name, value] of Object.entries(members)) ours.set(`${group}_${name}`, value);
  }
  for (const [name, value] of Object.entries(MOUNT_TYPES)) {
    ours.set(`MOUNT_${name.toUpperCase()}`, value);
  }
  for (const [value, code] of Object.entries(ERROR_CODES)) {
    ours.set(`ERROR_${(code as AgentErrorCode).replaceAll('-', '_').toUpperCase()}`, Number(value));
  }
  ours.set('EVENT_OOM', EVENT_OOM);
  ours.set('PROTOCOL_VERSION', PROTOCOL_VERSION);
  ours.set('AGENT_PORT', AGENT_PORT);
  ours.set('PUBLISHED_PORT_BASE', PUBLISHED_PORT_BASE);
  ours.set('NAMES_STREAM_PORT', NAME_PORTS.streams);
  ours.set('NAMES_DATAGRAM_PORT', NAME_PORTS.datagrams);
  ours.set('UPPER_UNUSED_MODE', protocol.UPPER_UNUSED_MODE);
  ours.set('PLACEHOLDER_BYTES', protocol.PLACEHOLDER_BYTES);
  ours.set('FRAME_HEADER_BYTES', protocol.FRAME_HEADER_BYTES);
  ours.set('FIELD_HEADER_BYTES', protocol.FIELD_HEADER_BYTES);
  deepEqual([...ours].sort(), [...header].sort());
});

test('capabilities by Docker’s rules', () => {
  const usual = 0xa80425fbn;
  const all = (1n << 41n) - 1n;
  equal(capabilityMask({}), usual);
  equal(capabilityMask({ capAdd: ['ALL'] }), all);
  equal(capabilityMask({ capAdd: ['all'], capDrop: ['chown'] }), all & ~1n);
  equal(capabilityMask({ capDrop: ['ALL'], capAdd: ['CAP_CHOWN'] }), 1n);
  equal(capabilityMask({ capDrop: ['KILL'] }), usual & ~(1n << 5n));
  equal(capabilityMask({ privileged: true, capDrop: ['ALL'] }), all);
  throws(() => capabilityMask({ capDrop: ['nope'] }), {
    message: 'invalid CapDrop: unknown capability: "CAP_NOPE"',
  });
});

test('addresses as bytes', () => {
  const hex = (address: string) => addressBytes(address).toString('hex');
  equal(hex('10.0.0.255'), '0a0000ff');
  equal(hex('::'), '0'.repeat(32));
  equal(hex('fd00::1:2'), `fd00${'0'.repeat(20)}00010002`);
  equal(hex('1:2:3:4:5:6:7:8'), '00010002000300040005000600070008');
  equal(hex('::ffff:1.2.3.4'), `${'0'.repeat(20)}ffff01020304`);
  throws(() => addressBytes('fe80::1%eth0'), { code: 'invalid-request' });
  throws(() => addressBytes('1.2.3'), { code: 'invalid-request' });
});

test('requests with what cannot be said are refused on the host', () => {
  throws(() => processFields({ args: ['a\0b'], env: [] }), { name: 'RangeError' });
  const root = {
    metadataBytes: 1,
    writable: 'disk',
    hostname: 'x',
    hosts: '',
    resolvConf: '',
  } as const;
  const mac = '52:54:00:00:00:01';
  for (const link of [
    { mac: 'no' },
    { mac, addresses: ['10.0.0.1'] },
    { mac, addresses: ['10.0.0.1/33'] },
    { mac, gateways: ['x'] },
  ]) {
    throws(() => rootFields({ ...root, interfaces: [link] }), { code: 'invalid-request' });
  }
});
