/** virtio-vsock with a bare-metal guest that does what no driver does. */
import assert from 'node:assert/strict';
import type { Duplex } from 'node:stream';
import { test } from 'node:test';
import { bootMachine } from '../../../vmm/index.ts';
import { ConsoleOutput } from '../../support/console-output.ts';
import { PAYLOAD } from '../../support/tsvm-process.ts';

const ECHO_PORT = 77;
const TESTS = ['vsock-hostile', 'vsock-credit-lies', 'vsock-flood'];

test('hostile packets, invalid credit and floods reset only their own connections', async () => {
  const console = new ConsoleOutput();
  const machine = await bootMachine(
    {
      kernelPath: PAYLOAD,
      appendCmdline: `tests=${TESTS.join(',')}`,
      acpi: false,
      memoryBytes: 64 * 2 ** 20,
      vsock: { guestCid: 42 },
    },
    { console },
  );
  try {
    const streams: Duplex[] = [];
    machine.vsock?.listen(ECHO_PORT, (stream) => {
      streams.push(stream);
      stream.on('error', () => {});
      stream.pipe(stream);
    });
    machine.start();
    await machine.ended;
    for (const name of TESTS) assert.match(console.text, new RegExp(`^ok ${name}\\b`, 'm'));
    const { creditLies = 0, malformed = 0 } = machine.statistics()['vsock'] ?? {};
    assert.equal(creditLies, 1, console.text);
    assert.ok(malformed > 0);
  } finally {
    await machine.close();
  }
});
