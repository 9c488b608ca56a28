import { readdirSync, readFileSync } from 'node:fs';
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
import { runUntil } from './process.ts';
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

/** tsvm's and QEMU's names of the threads of vCPUs. */
const VCPU_THREAD = /^(tsvm-vcpu\d+|CPU \d+\/KVM)$/;

/** Nanoseconds of processor time of a process so far, without its vCPUs, which poll in this guest. */
function deviceNs(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`).map((tid) => `/proc/${pid}/task/${tid}`);
  const devices = threads.filter((path) => {
    return !VCPU_THREAD.test(readFileSync(`${path}/comm`, 'latin1').trim());
  });
  if (devices.length === threads.length) throw new Error('no thread of a vCPU is found');
  return devices.reduce(
    (sum, path) => sum + Number.parseInt(readFileSync(`${path}/schedstat`, 'latin1'), 10),
    0,
  );
}

/** Nanoseconds of the device's processor time for a frame, without what the start takes. */
function cpuContestant(vmm: Vmm, workload: NetWorkload, workbench: Workbench): Contestant {
  const { direction, frameBytes, count } = workload;
  const timeOf = (frames: number) => {
    const cmdline = `bench=net-${direction} size=${frameBytes} count=${frames}`;
    const { command } = inNamespace(vmm, workload, workbench);
    return runUntil(command({ cmdline, halt: true }), 'done ', deviceNs);
  };
  const few = count / 10;
  return {
    name: vmm.name,
    sample: async () => {
      const startNs = await timeOf(few);
      return ((await timeOf(few + count)) - startNs) / count;
    },
  };
}

/**
 * Frames per second of the payload on a tap device, and the processor time that the device takes for a
 * frame, against QEMU on the same. The latter has nothing of the guest and the sender, and other load of
 * the machine changes it little. Needs root.
 */
export function netBenchmarks(workbench: Workbench): Benchmark[] {
  const vmms = [tsvmVmm(workbench), qemuVmm(workbench)];
  const ratio = { of: 'tsvm', against: 'qemu', as: 'ratio' } as const;
  return NET_WORKLOADS.flatMap((workload) => {
    const name = `net ${workload.direction}: ${workload.name}`;
    return [
      {
        name,
        unit: 'frames/s',
        contestants: vmms.map((vmm) => netContestant(vmm, workload, workbench)),
        comparisons: [{ ...ratio, atLeast: 1.2 }],
      },
      {
        name: `${name}, processor time of the device`,
        unit: 'ns',
        contestants: vmms.map((vmm) => cpuContestant(vmm, workload, workbench)),
        comparisons: [{ ...ratio, atMost: 1 }],
      },
    ];
  });
}
