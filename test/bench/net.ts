import type { Benchmark, Contestant } from './benchmark.ts';
import {
  benchFigures,
  GUEST_NETWORK,
  type PayloadGuest,
  qemuVmm,
  runPayload,
  tsvmVmm,
  type Vmm,
} from './payload-guest.ts';
import type { Workbench } from './workbench.ts';

export interface NetWorkload {
  readonly name: string;
  readonly direction: 'tx' | 'rx';
  readonly frameBytes: number;
  readonly count: number;
}

/** The largest frame of a TCP connection with segmentation offload: 45 segments. */
const SEGMENTED_BYTES = 45 * 1448 + 66;

export const NET_WORKLOADS: readonly NetWorkload[] = [
  { name: '64-byte frames', direction: 'tx', frameBytes: 64, count: 300_000 },
  { name: '64-byte frames', direction: 'rx', frameBytes: 64, count: 150_000 },
  { name: '1,514-byte frames', direction: 'tx', frameBytes: 1514, count: 200_000 },
  { name: '1,514-byte frames', direction: 'rx', frameBytes: 1514, count: 150_000 },
  {
    name: '64 KiB segmented by the host',
    direction: 'tx',
    frameBytes: SEGMENTED_BYTES,
    count: 30_000,
  },
  {
    name: '64 KiB segmented by the host',
    direction: 'rx',
    frameBytes: SEGMENTED_BYTES,
    count: 20_000,
  },
];

/** A network namespace with a tap device that only the benchmark sends to. */
const SETUP = `set -e
ip tuntap add ${GUEST_NETWORK} mode tap
echo 1 > /proc/sys/net/ipv6/conf/${GUEST_NETWORK}/disable_ipv6
ip link set ${GUEST_NETWORK} up`;

/** The VMM in such a namespace; for reception, with the sender, which ends with it. */
function inNamespace(vmm: Vmm, workload: NetWorkload, { netSender }: Workbench): Vmm {
  const sender =
    workload.direction === 'rx' ? `${netSender} ${GUEST_NETWORK} ${workload.frameBytes} &` : '';
  return {
    name: vmm.name,
    command: (guest: PayloadGuest) => [
      ...(['unshare', '-n', 'sh', '-c', `${SETUP}\n${sender}\nexec "$@"`, 'sh'] as const),
      ...vmm.command({ ...guest, network: true }),
    ],
  };
}

/** Frames per second. */
export function netContestant(vmm: Vmm, workload: NetWorkload, workbench: Workbench): Contestant {
  const { direction, frameBytes, count } = workload;
  const bench = `net-${direction}`;
  return {
    name: vmm.name,
    sample: async () => {
      const run = await runPayload(inNamespace(vmm, workload, workbench), {
        cmdline: `bench=${bench} size=${frameBytes} count=${count}`,
      });
      const cycles = benchFigures(run, bench).get('cycles') ?? Number.NaN;
      return (count * workbench.tscKhz * 1000) / cycles;
    },
  };
}

/** Frames per second of the payload on a tap device, against QEMU on the same. Needs root. */
export function netBenchmarks(workbench: Workbench): Benchmark[] {
  const vmms = [tsvmVmm(workbench), qemuVmm(workbench)];
  return NET_WORKLOADS.map((workload) => ({
    name: `net ${workload.direction}: ${workload.name}`,
    unit: 'frames/s',
    contestants: vmms.map((vmm) => netContestant(vmm, workload, workbench)),
    comparisons: [{ of: 'tsvm', against: 'qemu', as: 'ratio', atLeast: 1.2 }],
  }));
}
