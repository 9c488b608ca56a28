import type { NativeMemory, NativeMemoryFile } from '../../kvm-addon/index.d.ts';
import { TsvmError } from '../errors.ts';
import { loadAddon } from '../host/addon.ts';
import { GuestAddressError, GuestMemory, type MemoryRegion } from '../memory/guest-memory.ts';
import { once } from '../util/once.ts';
import { formatSize } from '../util/size.ts';
import { isNativeError, withKvmErrors } from './kvm-error.ts';

/**
 * A region of native memory. V8 counts the size of an ArrayBuffer as memory pressure, which can start a
 * garbage collection: it is only created if something reads the memory.
 */
function nativeRegion(native: NativeMemory, index: number, gpa: number, sizeBytes: number) {
  const open = once(() => new Uint8Array(native.region(index)));
  return {
    gpa,
    sizeBytes,
    get bytes() {
      return open();
    },
  } satisfies MemoryRegion;
}

/** @throws TsvmError `kvm-failed` with the size and advice */
function reserve(create: () => NativeMemory, regions: readonly { sizeBytes: number }[]) {
  try {
    return create();
  } catch (cause) {
    if (!isNativeError(cause)) throw cause;
    if (cause.code === 'ENODATA') {
      throw new TsvmError(
        'kvm-failed',
        'a file that is to be guest memory is shorter than the memory',
        {
          cause,
        },
      );
    }
    const bytes = regions.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const size = formatSize(bytes);
    throw new TsvmError(
      'kvm-failed',
      `${size} of guest memory cannot be reserved (${cause.code}): give the guest less with --memory, or ` +
        'raise the limit: "ulimit -v" for this process, /proc/sys/vm/overcommit_memory for the host',
      { cause },
    );
  }
}

/**
 * Host memory of the guest: anonymous, in pages of 4 KiB, or `huge`, in pages of 2 MiB where the host has
 * them; one memfd per region, which other processes can map (vhost-user); or a private (copy-on-write)
 * mapping of a file, at one offset per region.
 */
export type MemoryBacking =
  | 'anonymous'
  | 'huge'
  | 'memfd'
  | { readonly fd: number; readonly offsets: readonly number[] };

/** A file that is guest memory; what the guest writes is in the file. */
export type MappedFile = Readonly<NativeMemoryFile>;

/** Guest memory that a KVM virtual machine and queue workers can use. */
export class KvmMemory extends GuestMemory {
  readonly native: NativeMemory;
  /** True for memfds: other processes may map the memory, and no file can be mapped over it. */
  readonly shared: boolean;

  /**
   * @param regions of RAM, page-aligned; their pages are allocated on first access
   * @param files in regions of their own, which are not among {@link regions}: only the guest and its
   * devices' data planes access them. Twelve regions at most
   * @throws TsvmError `kvm-failed`
   */
  constructor(
    regions: readonly { gpa: number; sizeBytes: number }[],
    backing: MemoryBacking = 'anonymous',
    files: readonly MappedFile[] = [],
  ) {
    const { NativeMemory } = loadAddon();
    const native = reserve(() => new NativeMemory(regions, backing, files), [...regions, ...files]);
    super(regions.map(({ gpa, sizeBytes }, index) => nativeRegion(native, index, gpa, sizeBytes)));
    this.native = native;
    this.shared = backing === 'memfd';
  }

  override write(gpa: number, bytes: Uint8Array): void {
    if (!this.contains(gpa, bytes.byteLength)) throw new GuestAddressError(gpa, bytes.byteLength);
    this.native.write(gpa, bytes);
  }

  /** Maps a file over guest memory, copy-on-write. Addresses and sizes are multiples of 4096. */
  mapFile(gpa: number, lengthBytes: number, fd: number, fileOffset: number): void {
    withKvmErrors('mapping a file into guest memory', () =>
      this.native.mapFile(gpa, lengthBytes, fd, fileOffset),
    );
  }

  /**
   * Releases the host memory of whole pages. They then read as zeroes, or as the file that is
   * privately mapped there.
   */
  discard(gpa: number, lengthBytes: number): void {
    withKvmErrors('discarding guest memory', () => this.native.discard(gpa, lengthBytes));
  }

  /**
   * Writes the pages that are not all zeroes to a file, each at `fileOffset` plus its distance from
   * `gpa`, and leaves holes for the others. @returns how many bytes these are
   */
  writeOut(gpa: number, lengthBytes: number, fd: number, fileOffset: number): number {
    return this.native.writeOut(gpa, lengthBytes, fd, fileOffset);
  }

  /**
   * The reverse: reads what a file has, into memory that is zero, and skips its holes. Addresses and
   * sizes are multiples of 4096.
   */
  readIn(gpa: number, lengthBytes: number, fd: number, fileOffset: number): void {
    withKvmErrors('reading guest memory from a file', () =>
      this.native.readIn(gpa, lengthBytes, fd, fileOffset),
    );
  }

  /** The memfd of each region, starting at offset 0; empty unless {@link shared}. */
  fds(): readonly number[] {
    return this.native.fds();
  }

  /** Frees the memory; views of it become empty. Call it when no VM or worker uses it any more. */
  close(): void {
    this.native.close();
  }
}
