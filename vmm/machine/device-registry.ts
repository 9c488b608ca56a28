import type { Assembly } from './assembly.ts';
import type { ResolvedConfig } from './config.ts';
import {
  attachBootProgress,
  attachI8042,
  attachPower,
  attachPvpanic,
  attachRtc,
} from './devices/chips.ts';
import { attachDisks } from './devices/disks.ts';
import { attachRng } from './devices/rng.ts';
import { attachSerial } from './devices/serial.ts';

/** Attaches the devices of one kind that the configuration asks for. */
export type AttachDevices = (assembly: Assembly) => void | Promise<void>;

/** A kind of device whose code is loaded only for a machine that has such devices. */
function optional(
  isWanted: (config: ResolvedConfig) => boolean,
  load: () => Promise<AttachDevices>,
): AttachDevices {
  return async (assembly) => {
    if (!isWanted(assembly.config)) return;
    const attach = await load();
    await attach(assembly);
  };
}

/**
 * All kinds of devices, in the order in which they are attached and in which kernels find them: disks
 * first, so that the first one is /dev/vda. They are closed in reverse order.
 */
export const DEVICE_KINDS: readonly AttachDevices[] = [
  optional(
    ({ transport }) => transport === 'pci',
    async () => (await import('./devices/pci.ts')).attachPciBus,
  ),
  attachSerial,
  attachI8042,
  attachRtc,
  attachPower,
  attachPvpanic,
  attachBootProgress,
  attachDisks,
  optional(
    ({ pmems }) => pmems.length > 0,
    async () => (await import('./devices/pmem.ts')).attachPmems,
  ),
  optional(
    ({ cloudInit }) => cloudInit !== undefined,
    async () => (await import('./devices/cloud-init.ts')).attachCloudInit,
  ),
  optional(
    ({ nets }) => nets.length > 0,
    async () => (await import('./devices/nets.ts')).attachNets,
  ),
  attachRng,
  optional(
    ({ vsock }) => vsock !== undefined,
    async () => (await import('./devices/vsock.ts')).attachVsock,
  ),
  optional(
    ({ memoryMaxBytes }) => memoryMaxBytes !== undefined,
    async () => (await import('./devices/mem.ts')).attachMem,
  ),
  optional(
    ({ balloon }) => balloon,
    async () => (await import('./devices/balloon.ts')).attachBalloon,
  ),
  optional(
    ({ console, ports }) => console === 'virtio' || ports.length > 0,
    async () => (await import('./devices/console.ts')).attachConsole,
  ),
  // In the place of spare windows: a saved machine without shares can go on with some.
  optional(
    ({ shares }) => shares.length > 0,
    async () => (await import('./devices/shares.ts')).attachShares,
  ),
  optional(
    ({ spareWindows }) => spareWindows > 0,
    async () => (await import('./devices/spare-windows.ts')).attachSpareWindows,
  ),
];
