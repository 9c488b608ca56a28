import { resolve } from 'node:path';
import { diskFormat } from '../backends/disk/image/format.ts';
import { type DiskBackend, resolveScriptRequests } from '../backends/disk/machine/disk.ts';
import { JoinedFilesDisk } from '../backends/disk/machine/joined-files.ts';
import { openDisk } from '../backends/disk/machine/open-disk.ts';
import { BlockDevice, blockQueueCount } from '../devices/virtio/block/block-device.ts';
import type { VirtioDevice } from '../devices/virtio/device.ts';
import { RngDevice } from '../devices/virtio/rng/rng-device.ts';
import {
  MMIO_BANK,
  MMIO_INTERRUPT_STATUS_WORD,
  MmioTransport,
} from '../devices/virtio/transport/mmio.ts';
import { MmioRegister } from '../devices/virtio/transport/mmio-registers.ts';
import { hostFiles } from '../host/host-files.ts';
import { hasIoUring } from '../host/io-uring.ts';
import { KvmDisk } from '../kvm/disk.ts';
import { blockWorker, type QueueHost, rngWorker } from '../kvm/queue-workers.ts';
import { KvmRegisterBank } from '../kvm/register-bank.ts';
import { RateLimit } from '../observability/rate-limit.ts';
import type { DiskConfig, MachineConfig } from './config.ts';
import type { Machine } from './machine.ts';
import { MmioAllocator, type MmioSlot } from './placement.ts';

/** QueueNotify is written 32 bits wide. */
const NOTIFY_BYTES = 4;

/** Makes a device once its place in the guest and what its queue worker needs are known. */
type CreateDevice = (host: QueueHost) => VirtioDevice;

/**
 * Attaches the virtio devices of a machine, disks first so that the first disk is /dev/vda.
 * @returns where each stands in the guest
 */
export async function attachVirtioDevices(
  machine: Machine,
  config: MachineConfig,
): Promise<MmioSlot[]> {
  const allocator = new MmioAllocator(config.acpi);
  const engine = config.disks.length > 0 && hasIoUring() ? 'io_uring' : 'threads';
  const slots: MmioSlot[] = [];
  for (const [index, disk] of config.disks.entries()) {
    const slot = await attachDisk(machine, allocator.allocate(), disk, {
      name: `disk${index}`,
      queueCount: blockQueueCount(config.cpus),
      engine,
    });
    slots.push(slot);
  }
  slots.push(
    attachMmio(machine, allocator.allocate(), 1, (host) => {
      return new RngDevice({ name: 'rng', createWorker: rngWorker(host) });
    }),
  );
  return slots;
}

interface DiskOptions {
  readonly name: string;
  readonly queueCount: number;
  readonly engine: 'io_uring' | 'threads';
}

async function attachDisk(
  machine: Machine,
  slot: MmioSlot,
  config: DiskConfig,
  { name, queueCount, engine }: DiskOptions,
): Promise<MmioSlot> {
  const path = 'files' in config ? (config.files[0] ?? name) : config.path;
  const warn = (message: string) => machine.logger.warn(`${path}: ${message}`);
  const backend = await openBackend(config, warn);
  machine.own(() => backend.close());
  // A full disk fails request after request: once is enough.
  const failures = new RateLimit(1, 60_000);
  const tell = (problem: string) =>
    failures.log(machine.logger.warn, `${path}: ${problem}; the guest is told of an I/O error`);
  const serve = () => {
    const failure = disk.takeFailure();
    if (failure !== undefined) tell(failure);
    const onError = (error: unknown) => tell(error instanceof Error ? error.message : `${error}`);
    resolveScriptRequests(disk, backend, onError, (error) => machine.fail(error));
  };
  const disk = new KvmDisk(backend, () => machine.contain(serve));
  machine.own(() => disk.close());
  attachMmio(machine, slot, queueCount, (host) => {
    return new BlockDevice({
      name,
      sizeBytes: backend.sizeBytes,
      readOnly: backend.readOnly,
      queueCount,
      serialId: name,
      createWorker: blockWorker(host, disk, engine),
    });
  });
  return slot;
}

async function openBackend(
  config: DiskConfig,
  warn: (message: string) => void,
): Promise<DiskBackend> {
  if ('files' in config) return new JoinedFilesDisk(config.files);
  const { path, format, ...options } = config;
  return await openDisk(resolve(path), {
    ...options,
    format: diskFormat(path, format),
    hostFiles: hostFiles(),
    warn,
  });
}

/** Puts a device behind the virtio-mmio transport: registers, one kick a queue, one interrupt. */
function attachMmio(
  machine: Machine,
  slot: MmioSlot,
  queueCount: number,
  createDevice: CreateDevice,
): MmioSlot {
  const bank = new KvmRegisterBank(MMIO_BANK);
  const interrupt = machine.vm.interruptLine(slot.gsi);
  const notifyGpa = slot.gpa + MmioRegister.QueueNotify;
  const device = createDevice({
    memory: machine.memory,
    kicks: Array.from({ length: queueCount }, (_, queue) =>
      machine.vm.kickEvent(notifyGpa, NOTIFY_BYTES, queue),
    ),
    interrupts: [interrupt],
    interruptStatus: { bank, word: MMIO_INTERRUPT_STATUS_WORD },
    contain: (action) => machine.contain(action),
  });
  const guestErrors = new RateLimit();
  const transport = new MmioTransport({
    device,
    bank,
    interrupt,
    onGuestError: (reason) => guestErrors.log(machine.logger.warn, reason),
  });
  machine.bus.attach(machine.vm.attachBank('mmio', slot.gpa, bank), transport);
  machine.addDevice({
    name: device.name,
    close: async () => transport.reset(),
    statistics: () => transport.statistics(),
  });
  return slot;
}
