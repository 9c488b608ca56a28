import type { Assembly } from './assembly.ts';
import { attachBalloon } from './devices/balloon.ts';
import {
  attachBootProgress,
  attachI8042,
  attachPower,
  attachPvpanic,
  attachRtc,
} from './devices/chips.ts';
import { attachConsole } from './devices/console.ts';
import { attachDisks } from './devices/disks.ts';
import { attachNets } from './devices/nets.ts';
import { attachRng } from './devices/rng.ts';
import { attachSerial } from './devices/serial.ts';
import { attachShares } from './devices/shares.ts';
import { attachVsock } from './devices/vsock.ts';

/** Attaches the devices of one kind that the configuration asks for. */
export type AttachDevices = (assembly: Assembly) => void | Promise<void>;

/**
 * All kinds of devices, in the order in which they are attached and in which kernels find them: disks
 * first, so that the first one is /dev/vda. They are closed in reverse order.
 */
export const DEVICE_KINDS: readonly AttachDevices[] = [
  attachSerial,
  attachI8042,
  attachRtc,
  attachPower,
  attachPvpanic,
  attachBootProgress,
  attachDisks,
  attachNets,
  attachRng,
  attachVsock,
  attachShares,
  attachBalloon,
  attachConsole,
];
