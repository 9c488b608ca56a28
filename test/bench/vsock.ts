import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Benchmark, Contestant } from './benchmark.ts';
import { benchFigures, runPayload, type Vmm } from './payload-guest.ts';
import { runProcess, runUntil } from './process.ts';
import type { Workbench } from './workbench.ts';

const PORT = 90;
const MIB = 2 ** 20;
const LINUX_CREDIT_BYTES = 256 * 1024;

interface Workload {
  readonly name: string;
  readonly bench: string;
  /** As in `stream-peer.c`. */
  readonly order: 's' | 'r' | 'e';
  readonly count: number;
  readonly unit: string;
  /** Number of units in `count`. */
  readonly amount: number;
  readonly atLeast: number | undefined;
  /** The guest's receive buffer (SO_VM_SOCKETS_BUFFER_SIZE), which limits the data in flight. */
  readonly creditBytes: number;
}

const WORKLOADS: readonly Workload[] = [
  {
    name: 'vsock: a stream from the guest',
    bench: 'vsock-send',
    order: 's',
    count: 512 * MIB,
    unit: 'MiB/s',
    amount: 512,
    atLeast: 0.5,
    creditBytes: LINUX_CREDIT_BYTES,
  },
  {
    name: 'vsock: a stream to the guest, with a buffer of 480 KiB',
    bench: 'vsock-receive',
    order: 'r',
    count: 512 * MIB,
    unit: 'MiB/s',
    amount: 512,
    atLeast: 0.5,
    creditBytes: 480 * 1024,
  },
  {
    name: 'vsock: a stream to the guest, with Linux’s default buffer',
    bench: 'vsock-receive',
    order: 'r',
    count: 512 * MIB,
    unit: 'MiB/s',
    amount: 512,
    atLeast: undefined,
    creditBytes: LINUX_CREDIT_BYTES,
  },
  {
    name: 'vsock: round trips of a byte',
    bench: 'vsock-round-trip',
    order: 'e',
    count: 20_000,
    unit: '1/s',
    amount: 20_000,
    atLeast: undefined,
    creditBytes: LINUX_CREDIT_BYTES,
  },
];

/** tsvm with a vsock device whose socket file is in `folder`. */
function vsockVmm({ tsvm, payload }: Workbench, folder: string): Vmm {
  return {
    name: 'tsvm',
    command: ({ cmdline }) => [
      ...([tsvm, 'boot', '--kernel', payload, '--console', 'stdio'] as const),
      ...['--memory', '64M', '--acpi', 'off', '--append', `${cmdline} exit=acpi`],
      ...['--vsock', join(folder, 'v')],
    ],
  };
}

/** Runs `measure` while the peer listens for the guest's connections to {@link PORT}. */
async function withPeer<T>(
  peer: string,
  measure: (folder: string, path: string) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-bench-'));
  const path = join(folder, `v_${PORT}`);
  try {
    return await runUntil([peer, 'serve', path], 'listening', () => measure(folder, path));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function contestants(workload: Workload, workbench: Workbench): Contestant[] {
  const { bench, order, count, amount, creditBytes } = workload;
  const { streamPeer, tscKhz } = workbench;
  return [
    {
      name: 'tsvm',
      sample: () =>
        withPeer(streamPeer, async (folder) => {
          const run = await runPayload(vsockVmm(workbench, folder), {
            cmdline: `bench=${bench} count=${count} vsock-port=${PORT} credit=${creditBytes}`,
          });
          const cycles = benchFigures(run, bench).get('cycles') ?? Number.NaN;
          return amount / (cycles / tscKhz / 1000);
        }),
    },
    {
      name: 'unix socket',
      sample: () =>
        withPeer(streamPeer, async (_folder, path) => {
          const { stdout } = await runProcess([streamPeer, 'measure', path, order, `${count}`]);
          return amount / (Number(/^ns=(\d+)$/m.exec(stdout)?.[1]) / 1e9);
        }),
    },
  ];
}

/** A connection of the guest to a host program, against a UNIX socket between two programs. */
export function vsockBenchmarks(workbench: Workbench): Benchmark[] {
  return WORKLOADS.map((workload) => ({
    name: workload.name,
    unit: workload.unit,
    contestants: contestants(workload, workbench),
    comparisons: [
      {
        of: 'tsvm',
        against: 'unix socket',
        as: 'ratio',
        ...(workload.atLeast !== undefined && { atLeast: workload.atLeast }),
      },
    ],
  }));
}
