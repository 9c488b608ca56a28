/** Devices with a hostile driver under KVM: what breaks one of them leaves the others alone. */
import assert from 'node:assert/strict';
import { closeSync, ftruncateSync, openSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { bootMachine } from '../../../vmm/index.ts';
import { ConsoleOutput } from '../../support/console-output.ts';
import { NEEDS_ROOT, NetworkNamespace } from '../../support/network-namespace.ts';
import { PAYLOAD, runPayload, temporaryFolder } from '../../support/tsvm-process.ts';

const MIB = 2 ** 20;

function emptyDisk(folder: string, name: string): string {
  const path = join(folder, name);
  const fd = openSync(path, 'w');
  ftruncateSync(fd, 16 * MIB);
  closeSync(fd);
  return path;
}

function assertPassed(output: string, names: readonly string[]): void {
  for (const name of names) assert.match(output, new RegExp(`^ok ${name}\\b`, 'm'), output);
}

test('balloon, console and rng survive a hostile driver, count what they refuse, and work after it', async (context) => {
  const folder = temporaryFolder(context);
  const metrics = join(folder, 'metrics.json');
  const names = ['balloon', 'console', 'rng-limits'];
  const { code, stdout, stderr } = await runPayload(`tests=${names.join(',')}`, [
    ...['--balloon', '--port', `agent=${join(folder, 'port.sock')}`],
    ...['--metrics', metrics, '--memory', '64M'],
  ]);
  assertPassed(stdout + stderr, names);
  assert.equal(code, 0);
  const text = readFileSync(metrics, 'utf8');
  for (const counter of ['refusedPages', 'ignoredControls']) {
    assert.match(text, new RegExp(`"${counter}": ?[1-9]`), text);
  }
});

const DEVICES = ['net', 'blk', 'console', 'rng', 'balloon', 'vsock'];

/** Options for one device of each kind, and a second disk. */
async function oneOfEach(context: TestContext) {
  const folder = temporaryFolder(context);
  const setup = 'ip tuntap add tap0 mode tap; ip link set tap0 up';
  const { enter } = await NetworkNamespace.create(context, { setup, isolated: true });
  const options = [
    ...['--disk', emptyDisk(folder, 'a.img'), '--disk', emptyDisk(folder, 'b.img')],
    ...['--net', 'tap=tap0', '--balloon', '--port', `agent=${join(folder, 'port.sock')}`],
    ...['--vsock', join(folder, 'vsock.sock'), '--memory', '64M'],
  ];
  return { enter, options };
}

for (const transport of ['mmio', 'pci'] as const) {
  const title = `hostile rings and registers break each kind of device; the other devices and another machine go on: ${transport}`;
  test(title, NEEDS_ROOT, async (context) => {
    const { enter, options } = await oneOfEach(context);
    const names = [
      ...DEVICES.map((name) => `bad-rings-${name}`),
      ...DEVICES.map((name) => `bad-registers-${name}`),
      'bad-isolation',
    ];
    const disk = emptyDisk(temporaryFolder(context), 'neighbour.img');
    const neighbourTests = ['blk-pattern', 'memory', 'rng', 'serial-flood'];
    const neighbour = runPayload(`tests=${neighbourTests.join(',')} count=2000`, ['--disk', disk]);
    const { code, stdout, stderr } = await runPayload(
      `tests=${names.join(',')} ${transport}`,
      [...options, '--transport', transport],
      { through: enter },
    );
    assertPassed(stdout + stderr, names);
    assert.match(stdout, /^ok bad-isolation devices=7/m);
    assert.equal(code, 0);
    assertPassed((await neighbour).stdout, neighbourTests);
  });
}

test('descriptors and headers that a second vCPU changes meanwhile', async (context) => {
  const disk = emptyDisk(temporaryFolder(context), 'disk.img');
  const { code, stdout, stderr } = await runPayload('tests=race-blk', [
    ...['--disk', disk, '--cpus', '2'],
  ]);
  assertPassed(stdout + stderr, ['race-blk']);
  assert.equal(code, 0);
});

/** More than a socket, the queue and the device's own memory may hold. */
const HELD_BYTES_MAX = 2 * MIB;

test('a flood of output to a port is held back until its reader has room, and arrives whole', async (context) => {
  const socketPath = join(temporaryFolder(context), 'port.sock');
  const console = new ConsoleOutput();
  const machine = await bootMachine(
    {
      kernelPath: PAYLOAD,
      appendCmdline: 'tests=console-flood',
      acpi: false,
      memoryBytes: 64 * MIB,
      ports: [{ name: 'agent', socketPath }],
    },
    { console },
  );
  context.after(() => machine.close());
  const reader = connect(socketPath).pause();
  await new Promise((resolve) => reader.once('connect', resolve));
  // The device has accepted the connection when it says so to the driver.
  await new Promise((resolve) => setImmediate(resolve));
  machine.start();
  const heldBack = /holds output back after (\d+) bytes/;
  while (!heldBack.test(console.text)) await new Promise((resolve) => setTimeout(resolve, 10));
  const [, bytes] = heldBack.exec(console.text) ?? [];
  assert.ok(Number(bytes) < HELD_BYTES_MAX, `${bytes} bytes are held`);
  let output = '';
  reader.setEncoding('latin1').on('data', (text: string) => {
    output += text;
  });
  reader.resume();
  await machine.ended;
  assertPassed(console.text, ['console-flood']);
  const expected = Number(/^ok console-flood bytes=(\d+)/m.exec(console.text)?.[1]) / 64;
  while (output.length < expected * 64) await new Promise((resolve) => setTimeout(resolve, 10));
  reader.destroy();
  const numbers = output
    .trimEnd()
    .split('\n')
    .map((line) => Number(line.slice(0, 8)));
  assert.deepEqual(
    numbers,
    Array.from({ length: expected }, (_, index) => index),
  );
});
