import { resolve } from 'node:path';
import type { DiskBackend } from '../../backends/disk/machine/disk.ts';
import type { BlockDevice } from '../../devices/virtio/block/block-device.ts';
import { TsvmError } from '../../errors.ts';
import type { KvmRateLimiter } from '../../kvm/rate-limiter.ts';
import {
  type ImageDiskConfig,
  type ResolvedDisk,
  type ResolvedImageDisk,
  resolveDisk,
} from '../config.ts';
import { invalid } from '../config-fields.ts';
import type { Machine } from '../machine.ts';
import type { DiskControls } from '../machine-controls.ts';
import { checkRateLimits, type RateLimits } from '../rate-limits.ts';
import type { DiskSlot } from './disk-slot.ts';

export interface AttachedDiskOptions {
  readonly id: string;
  readonly config: ResolvedDisk;
  readonly machine: Pick<Machine, 'state' | 'controls'>;
  readonly device: Pick<BlockDevice, 'replaceDisk'>;
  readonly slot: DiskSlot;
  readonly limiter: KvmRateLimiter;
  readonly open: (disk: ResolvedDisk) => Promise<DiskBackend>;
}

/** What the host may ask of a disk of a machine. */
export class AttachedDisk implements DiskControls {
  readonly #options: AttachedDiskOptions;
  #config: ResolvedDisk;
  #isReplacing = false;

  constructor(options: AttachedDiskOptions) {
    this.#options = options;
    this.#config = options.config;
  }

  get config(): ResolvedDisk {
    return this.#config;
  }

  setRateLimits(limits: RateLimits): void {
    checkRateLimits(limits);
    this.#options.limiter.set(limits);
    if (!('files' in this.#config)) this.#config = { ...this.#config, limits };
  }

  async replaceImage(image: ImageDiskConfig): Promise<void> {
    const { id, open, limiter } = this.#options;
    if (this.#isReplacing) throw new TsvmError('wrong-state', `${id} is being replaced: wait`);
    const config = this.#replacement(image);
    this.#isReplacing = true;
    try {
      await this.#insert(await open(config));
      this.#config = config;
      limiter.set(config.limits ?? {});
    } finally {
      this.#isReplacing = false;
    }
  }

  async #insert(backend: DiskBackend): Promise<void> {
    const { device, machine, slot } = this.#options;
    try {
      const { state } = machine;
      if (state === 'stopped') throw new TsvmError('wrong-state', 'the machine has ended');
      await device.replaceDisk(async () => {
        await slot.replace(backend);
        return backend.sizeBytes;
      });
    } catch (error) {
      if (slot.backend !== backend) backend.close();
      throw error;
    }
  }

  /** @throws TsvmError `invalid-config` */
  #replacement(image: ImageDiskConfig): ResolvedImageDisk {
    const { id } = this.#options;
    const present: Partial<ResolvedImageDisk> =
      'files' in this.#config ? { readOnly: true } : this.#config;
    const { readOnly = false, slot } = present;
    const limits = image.limits ?? present.limits;
    const config = resolveDisk({
      ...image,
      limits,
      readOnly,
      id,
      ...(slot !== undefined && { slot }),
    });
    if ('files' in config) invalid(`${id}: give one file`);
    if (image.readOnly === true && !readOnly) {
      invalid(`${id} is writable, and guests rely on it: give a file that can be written`);
    }
    this.#refuseSecondUse(config.path);
    return config;
  }

  #refuseSecondUse(path: string): void {
    for (const [id, { config }] of this.#options.machine.controls.disks) {
      if (id === this.#options.id || 'files' in config) continue;
      if (resolve(config.path) === resolve(path)) invalid(`${path} is the file of ${id}`);
    }
  }
}
