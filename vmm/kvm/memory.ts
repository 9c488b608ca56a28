import type { NativeMemory } from '../../kvm-addon/index.d.ts';
import { TsvmError } from '../errors.ts';
import { loadAddon } from '../host/addon.ts';
import { GuestAddressError, GuestMemory, type MemoryRegion } from '../memory/guest-memory.ts';
import { formatSize } from '../util/size.ts';
import { isNativeError, withKvmErrors } from './kvm-error.ts';

/**
 * A region that becomes a JavaScript object only when someone looks into it: V8 takes its size for
 * garbage to be collected, and starts at once, which costs a boot that never looks milliseconds.
 */
class KvmRegion implements MemoryRegion {
  readonly gpa: number;
  readonly sizeBytes: number;
  readonly #open: () => ArrayBuffer;
  #bytes: Uint8Array | undefined;

  constructor(gpa: number, sizeBytes: number, open: () => ArrayBuffer) {
    this.gpa = gpa;
    this.sizeBytes = sizeBytes;
    this.#open = open;
  }

  get bytes(): Uint8Array {
    this.#bytes ??= new Uint8Array(this.#open());
    return this.#bytes;
  }
}

/** @throws TsvmError `kvm-failed` with the size and what helps */
function reserve(create: () => NativeMemory, regions: readonly { sizeBytes: number }[]) {
  try {
    return create();
  } catch (cause) {
    if (!isNativeError(cause)) throw cause;
    const bytes = regions.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const size = formatSize(bytes);
    throw new TsvmError(
      'kvm-failed',
      `${size} of guest memory cannot be reserved (${cause.code}): give the guest less with --memory, ` +
        'or allow more: "ulimit -v" may limit this process, /proc/sys/vm/overcommit_memory all of them',
      { cause },
    );
  }
}

/** Guest memory that a KVM virtual machine and queue workers can use. */
export class KvmMemory extends GuestMemory {
  readonly native: NativeMemory;

  /** Regions are page-aligned and cost nothing until touched. At most four. */
  constructor(regions: readonly { gpa: number; sizeBytes: number }[]) {
    const { NativeMemory } = loadAddon();
    const native = reserve(() => new NativeMemory(regions), regions);
    super(
      regions.map(
        ({ gpa, sizeBytes }, index) => new KvmRegion(gpa, sizeBytes, () => native.region(index)),
      ),
    );
    this.native = native;
  }

  override write(gpa: number, bytes: Uint8Array): void {
    if (!this.contains(gpa, bytes.byteLength)) throw new GuestAddressError(gpa, bytes.byteLength);
    this.native.write(gpa, bytes);
  }

  /** Maps a file over guest memory, copy-on-write. All numbers are multiples of 4096. */
  mapFile(gpa: number, lengthBytes: number, fd: number, fileOffset: number): void {
    withKvmErrors('mapping a file into guest memory', () =>
      this.native.mapFile(gpa, lengthBytes, fd, fileOffset),
    );
  }

  /** Frees the memory; views of it become empty. Nothing may use it any more. */
  close(): void {
    this.native.close();
  }
}
