/**
 * No path of a device wakes JavaScript for each request. The same load runs short and long: the long run
 * has thousands of requests more, and JavaScript is woken as often as in the short one.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { packageRoot } from '../../../vmm/util/package-root.ts';
import { NEEDS_ROOT, NetworkNamespace } from '../../support/network-namespace.ts';
import { runPayload, runTsvm, temporaryFolder } from '../../support/tsvm-process.ts';

/** Of the device: none, but for one that was under way at the start or at the end. */
const DEVICE_WAKES_MORE_MAX = 1;
/** Of the machine: how many accesses the serial port's output takes depends on its reader. */
const CHAINS_PER_WAKE_MIN = 50;
/** Chains that the long run has more than the short one, at least. */
const CHAINS_MORE_MIN = 2000;
const VSOCK_PORT = 90;

interface Load {
  readonly device: string;
  readonly words: string;
  readonly args: readonly string[];
  /** `count=` of the short and of the long run. */
  readonly counts: readonly [number, number];
  readonly through?: readonly string[];
}

type Counters = Readonly<Record<string, Readonly<Record<string, number>>>>;

async function run(t: TestContext, load: Load, count: number) {
  const path = join(temporaryFolder(t), 'metrics.json');
  const args = [...load.args, '--memory', '64M', '--metrics', path];
  const { stdout, stderr } = await runPayload(`${load.words} count=${count}`, args, {
    ...(load.through && { through: load.through }),
  });
  assert.match(stdout, /^bench /m, stdout + stderr);
  const { counters } = JSON.parse(readFileSync(path, 'utf8')) as { readonly counters: Counters };
  const { chains = Number.NaN, scriptWakes = Number.NaN } = counters[load.device] ?? {};
  const all = Object.values(counters).map((part) => part['scriptWakes'] ?? 0);
  return {
    chains,
    deviceWakes: scriptWakes,
    machineWakes: all.reduce((sum, one) => sum + one, 0),
  };
}

async function check(t: TestContext, load: Load): Promise<void> {
  const [short, long] = [
    await run(t, load, load.counts[0]),
    await run(t, load, load.counts[1]),
  ] as const;
  const chains = long.chains - short.chains;
  const wakes = long.machineWakes - short.machineWakes;
  t.diagnostic(`${chains} chains and ${wakes} wake-ups more, of ${short.machineWakes}`);
  assert.ok(short.machineWakes > 0, 'wake-ups are counted');
  assert.ok(chains >= CHAINS_MORE_MIN, `only ${chains} chains more`);
  assert.ok(long.deviceWakes - short.deviceWakes <= DEVICE_WAKES_MORE_MAX, 'of the device');
  assert.ok(wakes * CHAINS_PER_WAKE_MIN <= chains, `${wakes} wake-ups for ${chains} chains`);
}

const counts = [1000, 21_000] as const;

for (const format of ['raw', 'qcow2'] as const) {
  for (const [bench, cpus] of [
    ['blk-randread', 1],
    ['blk-randwrite', 2],
  ] as const) {
    test(`${bench} of a ${format} disk`, async (t) => {
      const disk = await makeDisk(t, format);
      const words = `bench=${bench} bs=4096 qd=4`;
      const args = ['--disk', disk, '--cpus', String(cpus)];
      await check(t, { device: 'disk0', words, args, counts });
    });
  }
}

test('the counter counts: reads of compressed clusters do wake JavaScript', async (t) => {
  const disk = await makeDisk(t, 'qcow2', '-c');
  const load = { device: 'disk0', words: 'bench=blk-randread bs=4096 qd=1', counts };
  const { chains, deviceWakes } = await run(t, { ...load, args: ['--disk', disk] }, 1000);
  assert.ok(deviceWakes > chains / 2, `${deviceWakes} wake-ups for ${chains} chains`);
});

/** A disk of 1 MiB, all of which is allocated. */
async function makeDisk(t: TestContext, format: string, ...flags: readonly string[]) {
  const folder = temporaryFolder(t);
  const [disk, raw] = [join(folder, `disk.${format}`), join(folder, 'content.img')] as const;
  writeFileSync(raw, new Uint8Array(2 ** 20).fill(1));
  const { code, stderr } = await runTsvm(
    ['image', 'convert', '-f', 'raw', '-O', format].concat(flags, [raw, disk]),
  );
  assert.equal(code, 0, stderr);
  return disk;
}

function compiled(t: TestContext, name: string): string {
  const program = join(temporaryFolder(t), name);
  execFileSync('gcc', ['-O2', '-o', program, join(packageRoot(), `test/bench/${name}.c`)]);
  return program;
}

for (const direction of ['tx', 'rx']) {
  test(`net-${direction} on a tap device`, NEEDS_ROOT, async (t) => {
    const setup = `ip tuntap add tap0 mode tap; echo 1 >/proc/sys/net/ipv6/conf/tap0/disable_ipv6
      ip link set tap0 up`;
    const namespace = await NetworkNamespace.create(t, { setup, isolated: true });
    if (direction === 'rx') namespace.start(t, compiled(t, 'net-sender'), 'tap0', '64');
    const words = `bench=net-${direction} size=64`;
    const args = ['--net', 'tap=tap0'];
    await check(t, { device: 'net0', words, args, counts, through: namespace.enter });
  });
}

for (const [bench, ...range] of [
  ['vsock-send', 2 ** 20, 2 ** 29],
  ['vsock-receive', 2 ** 20, 2 ** 29],
  ['vsock-round-trip', ...counts],
] as const) {
  test(`${bench} with a program of the host`, async (t) => {
    const socket = join(temporaryFolder(t), 'v');
    const peer = spawn(compiled(t, 'stream-peer'), ['serve', `${socket}_${VSOCK_PORT}`], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.after(() => peer.kill());
    await once(peer.stdout, 'data');
    const words = `bench=${bench} vsock-port=${VSOCK_PORT}`;
    await check(t, { device: 'vsock', words, args: ['--vsock', socket], counts: range });
  });
}
