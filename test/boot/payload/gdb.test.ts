/** A debugger and the payload: by the protocol itself, so that hosts without GDB test it, too. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { bootMachine, type GdbConfig, type Machine, TsvmError } from '../../../vmm/index.ts';
import { ConsoleOutput } from '../../support/console-output.ts';
import { elfSymbols } from '../../support/elf-symbols.ts';
import { GdbClient } from '../../support/gdb-client.ts';
import { PAYLOAD } from '../../support/tsvm-process.ts';

const SYMBOLS = elfSymbols(PAYLOAD);
/** Numbers of registers, which GDB has defined. */
const RAX = 0;
const RSP = 7;
const RIP = 16;
const XMM0 = 40;

/**
 * The AMD-V that QEMU emulates does not let KVM intercept INT3, and has no debug registers for guests: no
 * breakpoint hits there. Single steps do work.
 */
const NO_BREAKPOINTS = processorIs('QEMU TCG') && 'QEMU’s AMD-V has no breakpoints';
/** Where a test begins: far from the entry point, if a breakpoint leads there. */
const START = NO_BREAKPOINTS ? 'payload_main' : 'tests_run';
/** Instructions from the entry point to `payload_main` at most. */
const STEPS_MAX = 1000;

const PASSED = /^done passed=2 failed=0/m;

function processorIs(name: string): boolean {
  return new RegExp(`^model name\\s*:.*${name}`, 'm').test(readFileSync('/proc/cpuinfo', 'utf8'));
}

interface Debugged {
  readonly machine: Machine;
  readonly client: GdbClient;
  readonly socketPath: string;
  output(): string;
}

function symbol(name: string): number {
  const found = SYMBOLS.get(name);
  assert.ok(found, `the payload has no ${name}`);
  return found.value;
}

/** Address of `boot_info.ram_count`, which is followed by 16 bytes. */
function ramCount(): number {
  const info = SYMBOLS.get('boot_info');
  assert.ok(info);
  return info.value + info.size - 16;
}

async function debug(
  t: TestContext,
  { cpus = 1, append = 'tests=cpuid,smp', waits = true } = {},
): Promise<Debugged> {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-gdb-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const socketPath = join(folder, 'gdb');
  const console = new ConsoleOutput();
  const machine = await bootMachine(
    {
      kernelPath: PAYLOAD,
      acpi: false,
      cpus,
      memoryBytes: 64 * 2 ** 20,
      appendCmdline: `${append} cpus=${cpus}`,
      gdb: { socketPath, waits },
    },
    { console },
  );
  t.after(() => machine.close());
  machine.start();
  const client = await GdbClient.connect(socketPath);
  t.after(() => client.close());
  return { machine, client, socketPath, output: () => console.text };
}

/** A little-endian number of the protocol. */
function little(digits: string): number {
  return Number(BigInt(`0x${Buffer.from(digits, 'hex').reverse().toString('hex')}`));
}

function littleHex(value: number): string {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes.toString('hex');
}

async function register(client: GdbClient, number: number): Promise<number> {
  return little(await client.ask(`p${number.toString(16)}`));
}

const hex = (value: number) => value.toString(16);

async function runTo(client: GdbClient, name: string): Promise<void> {
  const at = hex(symbol(name));
  if (NO_BREAKPOINTS) {
    for (let i = 0; i < STEPS_MAX && hex(await register(client, RIP)) !== at; i++) {
      assert.match(await client.ask('vCont;s:1'), /^T05thread:1;/);
    }
  } else {
    assert.equal(await client.ask(`Z0,${at},1`), 'OK');
    assert.match(await client.ask('vCont;c'), /^T05thread:1;/);
    assert.equal(await client.ask(`z0,${at},1`), 'OK');
  }
  assert.equal(hex(await register(client, RIP)), at, `stopped at ${name}`);
}

async function detach({ machine, client, output }: Debugged): Promise<void> {
  assert.equal(await client.ask('D'), 'OK');
  assert.equal((await machine.ended).reason, 'poweroff');
  assert.match(output(), PASSED);
}

test('a guest that waits runs to a breakpoint, and to its end after the detach', async (t) => {
  const debugged = await debug(t);
  const { client, output } = debugged;
  assert.match(await client.ask('?'), /^T05thread:1;/);
  assert.equal(output(), '');
  await runTo(client, 'payload_main');
  assert.equal(output(), '');
  if (!NO_BREAKPOINTS) {
    await runTo(client, START);
    assert.match(output(), /payload: hello/);
  }
  await detach(debugged);
});

test('registers and memory are read and written', async (t) => {
  const debugged = await debug(t);
  const { client } = debugged;
  await runTo(client, START);
  const stack = hex((await register(client, RSP)) - 64);
  assert.equal(await client.ask(`M${stack},4:0123abcd`), 'OK');
  assert.equal(await client.ask(`m${stack},4`), '0123abcd');
  // Binary, with an escaped byte.
  assert.equal(await client.ask(`X${stack},3:\x01}\x03\xff`), 'OK');
  assert.equal(await client.ask(`m${stack},4`), '0123ffcd');

  assert.equal(await client.ask(`P${hex(RAX)}=${littleHex(0x1234567890)}`), 'OK');
  const before = await client.ask('g');
  assert.equal(little(before.slice(0, 16)), 0x1234567890);
  assert.equal(await client.ask(`P${hex(XMM0)}=${'a5'.repeat(16)}`), 'OK');
  assert.equal(await client.ask(`p${hex(XMM0)}`), 'a5'.repeat(16));
  const all = await client.ask('g');
  assert.equal(all.length, before.length);
  assert.ok(all.includes('a5'.repeat(16)));
  assert.equal(await client.ask(`G${before}`), 'OK');
  assert.equal(await client.ask('g'), before);
  await detach(debugged);
});

test('addresses that are not mapped, and what cannot be set, are errors', async (t) => {
  const debugged = await debug(t);
  const { client } = debugged;
  await runTo(client, START);
  assert.equal(await client.ask('m8000000000000000,8'), 'E14');
  assert.equal(await client.ask('mffff800000000000,8'), 'E14');
  // A device's registers, which reading would change.
  assert.equal(await client.ask('mfee00000,4'), 'E14');
  assert.equal(await client.ask('Mffff800000000000,1:00'), 'E14');
  // The control registers follow those that GDB knows.
  assert.equal(await client.ask(`P3c=${littleHex(0)}`), 'E22');
  assert.equal(await client.ask('Z3,200000,4'), '', 'no processor watches for reads alone');
  for (let i = 0; i < 4; i++) assert.equal(await client.ask(`Z2,${hex(0x200000 + 8 * i)},8`), 'OK');
  assert.equal(await client.ask('Z2,200020,8'), 'E28');
  assert.equal(await client.ask('z2,200000,8'), 'OK');
  assert.equal(await client.ask('Z4,200020,8'), 'OK');
  await detach(debugged);
});

test('single steps, one instruction each', async (t) => {
  const debugged = await debug(t);
  const { client } = debugged;
  await runTo(client, START);
  let rip = await register(client, RIP);
  for (let i = 0; i < 8; i++) {
    assert.match(await client.ask('vCont;s:1'), /^T05thread:1;/);
    const next = await register(client, RIP);
    assert.notEqual(next, rip);
    if (i < 2) assert.ok(next - rip > 0 && next - rip < 16, `${hex(rip)} to ${hex(next)}`);
    rip = next;
  }
  await detach(debugged);
});

test('a watchpoint stops behind the write, with the address', {
  skip: NO_BREAKPOINTS,
}, async (t) => {
  const debugged = await debug(t);
  const { client } = debugged;
  await runTo(client, 'payload_main');
  const at = ramCount();
  const before = little(await client.ask(`m${hex(at)},4`));
  assert.equal(await client.ask(`Z2,${hex(at)},4`), 'OK');
  const stop = await client.ask('vCont;c');
  assert.ok(stop.startsWith(`T05thread:1;watch:${hex(at)};`), stop);
  assert.notEqual(little(await client.ask(`m${hex(at)},4`)), before);
  assert.equal(await client.ask(`z2,${hex(at)},4`), 'OK');
  await detach(debugged);
});

test('Ctrl-C stops a running guest, again and again', async (t) => {
  const debugged = await debug(t, { append: 'tests=serial-flood count=100000', waits: false });
  const { client, output } = debugged;
  for (let i = 0; i < 5; i++) {
    const before = output().length;
    client.send('vCont;c');
    while (output().length === before) await new Promise((resolve) => setTimeout(resolve, 1));
    client.interrupt();
    assert.match(await client.answer(), /^T02thread:1;/);
    const stopped = output().length;
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(output().length, stopped, 'nothing runs meanwhile');
  }
  assert.equal(await client.ask('k').catch(() => 'closed'), 'closed');
  assert.equal((await debugged.machine.ended).reason, 'stopped');
});

test('vCPUs are threads, which stop together and step alone', {
  skip: NO_BREAKPOINTS,
}, async (t) => {
  const debugged = await debug(t, { cpus: 2 });
  const { client } = debugged;
  assert.equal(await client.ask('qfThreadInfo'), 'm1,2');
  assert.equal(await client.ask('qsThreadInfo'), 'l');
  assert.equal(await client.ask('T2'), 'OK');
  assert.equal(await client.ask('T3'), 'E22');
  // The second vCPU comes here.
  const at = hex(symbol('ap_main'));
  assert.equal(await client.ask(`Z0,${at},1`), 'OK');
  assert.match(await client.ask('vCont;c'), /^T05thread:2;/);
  assert.equal(await client.ask(`z0,${at},1`), 'OK');
  assert.equal(hex(await register(client, RIP)), at);
  assert.equal(await client.ask('Hg1'), 'OK');
  const other = await register(client, RIP);
  assert.match(await client.ask('vCont;s:2'), /^T05thread:2;/);
  assert.notEqual(hex(await register(client, RIP)), at);
  assert.equal(await client.ask('Hg1'), 'OK');
  assert.equal(await register(client, RIP), other, 'the first vCPU has not moved');
  await detach(debugged);
});

test('a client that disappears leaves the guest running, without breakpoints', async (t) => {
  const { client, machine, output, socketPath } = await debug(t);
  assert.equal(statSync(socketPath).mode & 0o777, 0o600);
  assert.equal(await client.ask(`Z1,${hex(symbol('tests_run'))},1`), 'OK');
  client.close();
  assert.equal((await machine.ended).reason, 'poweroff');
  assert.match(output(), PASSED);
});

test('a second client is refused; the machine’s end is told', async (t) => {
  const { client, socketPath } = await debug(t);
  assert.match(await client.ask('?'), /^T05/);
  const second = await GdbClient.connect(socketPath);
  await second.closed();
  client.send('vCont;c');
  assert.equal(await client.answer(), 'W00');
  await client.closed();
});

test('a machine that is paused stays paused when its debugger continues it', async (t) => {
  const debugged = await debug(t);
  const { client, machine, output } = debugged;
  await runTo(client, 'payload_main');
  await machine.pause();
  client.send('vCont;c');
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(output(), '');
  machine.resume();
  assert.equal(await client.answer(), 'W00');
  assert.match(output(), PASSED);
});

test('what does not fit is refused with a sentence', async () => {
  const refused: [gdb: object, text: RegExp][] = [
    [{}, /either "socketPath" or "port"/],
    [{ port: 65_536 }, /not a port/],
    [{ port: 1, address: 'localhost' }, /numeric address/],
    [{ port: 1, wait: true }, /has no "wait"/],
    [{ socketPath: '/nowhere/at/all' }, /cannot be created \(its folder does not exist\)/],
    [{ port: 0, address: '192.0.2.1' }, /cannot listen on 192\.0\.2\.1:0 \(EADDRNOTAVAIL\)/],
  ];
  for (const [gdb, text] of refused) {
    const booted = bootMachine({ kernelPath: PAYLOAD, acpi: false, gdb: gdb as GdbConfig });
    await assert.rejects(booted, (error) => error instanceof TsvmError && text.test(error.message));
  }
});
