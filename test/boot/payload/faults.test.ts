/** A part of a machine that throws ends it, with the reason: no vCPU waits for ever. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { StatelessDevice } from '../../../vmm/devices/machine-device.ts';
import type { ConsoleBackend, MachineConfig } from '../../../vmm/index.ts';
import { bootAssembly } from '../../../vmm/machine/boot-machine.ts';
import type { Machine } from '../../../vmm/machine/machine.ts';
import { PAYLOAD } from '../../support/tsvm-process.ts';

const CONFIG: MachineConfig = {
  kernelPath: PAYLOAD,
  appendCmdline: 'tests=serial-echo',
  memoryBytes: 64 * 2 ** 20,
  acpi: false,
};

const SILENT: ConsoleBackend = {
  write: () => true,
  onceDrained: () => Promise.resolve(),
  startInput: () => {},
  resumeInput: () => {},
};

async function boot(
  t: TestContext,
  console: Partial<ConsoleBackend>,
  words?: string,
): Promise<Machine> {
  const { machine } = await bootAssembly(
    { ...CONFIG, ...(words !== undefined && { appendCmdline: words }) },
    {
      console: { ...SILENT, ...console },
    },
  );
  t.after(() => machine.close().catch(() => {}));
  return machine;
}

/** The machine's end, which must be a failure with this message. */
async function assertFails(machine: Machine, message: RegExp): Promise<void> {
  const end = await machine.ended;
  assert.equal(end.reason, 'failed');
  assert.match(end.reason === 'failed' ? end.message : '', message);
}

function fail(): never {
  throw new Error('on purpose');
}

test('a console that throws', async (t) => {
  const machine = await boot(t, { write: fail });
  machine.start();
  await assertFails(machine, /a device failed: Error: on purpose/);
});

test('a console that rejects while it is full', async (t) => {
  const rejecting = {
    write: () => false,
    onceDrained: () => Promise.reject(new Error('on purpose')),
  };
  const machine = await boot(t, rejecting);
  machine.start();
  await assertFails(machine, /on purpose/);
});

test('input that is refused by an exception', async (t) => {
  let type = (_bytes: Uint8Array): boolean => false;
  const machine = await boot(t, {
    startInput: (receive) => {
      type = receive;
    },
  });
  machine.start();
  // What the serial port is not prepared for.
  assert.equal(type(undefined as unknown as Uint8Array), false);
  await assertFails(machine, /a device failed: TypeError/);
});

for (const [what, handler] of [
  ['a register read', { read: fail, write: () => {} }],
  ['a register write', { read: () => 0, write: fail }],
  [
    'a register write that rejects',
    { read: () => 0, write: () => Promise.reject(new Error('on purpose')) },
  ],
] as const) {
  test(`a device that throws in ${what}`, async (t) => {
    const machine = await boot(t, {});
    // In place of every device's own handler: the payload touches several.
    for (let bank = 0; bank < 16; bank++) machine.bus.attach(bank, handler);
    machine.start();
    await assertFails(machine, /on purpose/);
  });
}

class OddDevice extends StatelessDevice {
  readonly id = 'odd';

  poll(): void {
    fail();
  }
}

test('a device that throws when it is polled, also at the end', async (t) => {
  const machine = await boot(t, {});
  machine.addDevice(new OddDevice());
  machine.start();
  await assertFails(machine, /on purpose/);
  const other = await boot(t, {});
  other.addDevice(new OddDevice());
  other.stop();
  await assertFails(other, /on purpose/);
});
