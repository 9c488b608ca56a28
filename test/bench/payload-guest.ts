import { type Command, type ProcessRun, runProcess } from './process.ts';
import type { Workbench } from './workbench.ts';

export const GUEST_MEMORY_MIB = 64;

/** A VMM that can run the payload. */
export interface Vmm {
  readonly name: string;
  command(guest: PayloadGuest): Command;
}

export interface GuestDisk {
  readonly path: string;
  readonly format: 'raw' | 'qcow2';
  readonly readOnly: boolean;
}

/** A raw image opened read-only. */
export function rawDisk(path: string): GuestDisk {
  return { path, format: 'raw', readOnly: true };
}

/** The tap device of a guest with a network. */
export const GUEST_NETWORK = 'tap0';

export interface PayloadGuest {
  /** Words for the payload, except how to end. */
  readonly cmdline: string;
  readonly disk?: GuestDisk;
  /** Connects it to {@link GUEST_NETWORK}. */
  readonly network?: boolean;
  /** vCPUs, and queues of the disk; default 1. */
  readonly cpus?: number;
  /** The guest halts at the end instead of ending the VMM. */
  readonly halt?: boolean;
}

export function tsvmVmm({ tsvm, payload }: Workbench): Vmm {
  return {
    name: 'tsvm',
    command: ({ cmdline, disk, network, halt, cpus = 1 }) => [
      ...([tsvm, 'boot', '--kernel', payload, '--console', 'stdio'] as const),
      ...['--memory', `${GUEST_MEMORY_MIB}M`, '--cpus', `${cpus}`],
      // Without ACPI, the command line describes the devices, and the payload reads nothing else.
      ...['--acpi', 'off', '--append', `${cmdline} exit=${halt ? 'hlt' : 'acpi'}`],
      ...(disk === undefined
        ? []
        : ['--disk', `${disk.path},format=${disk.format}${disk.readOnly ? ',ro' : ''}`]),
      ...(network ? ['--net', `tap=${GUEST_NETWORK}`] : []),
    ],
  };
}

/** QEMU's microvm, reduced to what the payload uses. Disks use io_uring in a separate thread. */
export function qemuVmm({ payload }: Workbench, cache: 'writeback' | 'none' = 'writeback'): Vmm {
  const direct = cache === 'none' ? 'on' : 'off';
  return {
    name: cache === 'writeback' ? 'qemu' : `qemu cache=${cache}`,
    command: ({ cmdline, disk, network, halt, cpus = 1 }) => [
      'qemu-system-x86_64',
      ...['-M', 'microvm,acpi=off,pit=off,pic=off,rtc=off,x-option-roms=off'],
      ...['-accel', 'kvm', '-cpu', 'host,-arch-capabilities', '-m', `${GUEST_MEMORY_MIB}`],
      // Its threads have names.
      ...['-smp', `${cpus}`, '-name', 'payload,debug-threads=on'],
      ...['-no-user-config', '-nodefaults', '-display', 'none', '-serial', 'stdio', '-no-reboot'],
      ...['-global', 'virtio-mmio.force-legacy=false', '-kernel', payload],
      ...['-append', `${cmdline} exit=${halt ? 'hlt' : 'triple'}`],
      ...(network
        ? [
            ...['-netdev', `tap,id=net,ifname=${GUEST_NETWORK},script=no,downscript=no`],
            ...['-device', 'virtio-net-device,netdev=net'],
          ]
        : []),
      ...(disk === undefined
        ? []
        : [
            ...['-object', 'iothread,id=io', '-device'],
            `virtio-blk-device,drive=disk,iothread=io,num-queues=${cpus}`,
            ...['-blockdev', qemuFile(disk, direct)],
            ...(disk.format === 'raw'
              ? []
              : [
                  '-blockdev',
                  `driver=qcow2,node-name=disk,file=file,read-only=${onOff(disk.readOnly)}`,
                ]),
          ]),
    ],
  };
}

/** A raw disk is the file node itself. */
function qemuFile({ path, format, readOnly }: GuestDisk, direct: string): string {
  const name = format === 'raw' ? 'disk' : 'file';
  return (
    `driver=file,node-name=${name},filename=${path},read-only=${onOff(readOnly)},aio=io_uring,` +
    `cache.direct=${direct}`
  );
}

function onOff(on: boolean): string {
  return on ? 'on' : 'off';
}

/** The bare loop around KVM_RUN, without devices. */
export function bareVmm({ bareKvmRun, payload }: Workbench): Vmm {
  return {
    name: 'bare KVM_RUN',
    command: ({ cmdline }) => [bareKvmRun, payload, cmdline],
  };
}

/** Runs the payload to its end. Rejects unless it reports success. */
export async function runPayload(vmm: Vmm, guest: PayloadGuest): Promise<ProcessRun> {
  const run = await runProcess(vmm.command(guest));
  if (!/^done .*\bfailed=0\b/m.test(run.stdout)) {
    throw new Error(`the payload on ${vmm.name} failed: ${run.stdout.trim().slice(-500)}`);
  }
  return run;
}

/** The values of the payload's line `bench NAME key=value ...`. */
export function benchFigures({ stdout }: ProcessRun, name: string): Map<string, number> {
  const line = stdout.split('\n').find((text) => text.startsWith(`bench ${name} `));
  if (line === undefined) throw new Error(`no figures of ${name} in: ${stdout.trim()}`);
  return new Map(
    Array.from(line.matchAll(/(\w+)=(\w+)/g), ([, key = '', value]) => [key, Number(value)]),
  );
}

/** Seconds that the payload's benchmark took, and how often it repeated what it measures. */
export async function measure(
  vmm: Vmm,
  bench: string,
  options: { readonly words: string; readonly count: number; readonly disk?: GuestDisk },
  tscKhz: number,
): Promise<{ seconds: number; count: number }> {
  const { words, count, disk } = options;
  const run = await runPayload(vmm, {
    cmdline: `bench=${bench} count=${count} ${words}`,
    ...(disk !== undefined && { disk }),
  });
  const cycles = benchFigures(run, bench).get('cycles');
  if (cycles === undefined) throw new Error(`no cycles in: ${run.stdout.trim()}`);
  return { seconds: cycles / tscKhz / 1000, count };
}
