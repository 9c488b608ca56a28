/**
 * Bounds-checked access to guest memory by guest-physical address (`gpa`). Addresses are plain
 * numbers, because guest memory ends far below 2^53.
 */
export interface MemoryRegion {
  /** First address of the region, page-aligned. */
  readonly gpa: number;
  /** Size in bytes, a multiple of the page size. */
  readonly sizeBytes: number;
  /** The host memory of the region, `sizeBytes` long. */
  readonly bytes: Uint8Array;
}

/** An access outside guest memory. Devices report it to the guest as its error. */
export class GuestAddressError extends Error {
  constructor(gpa: number, length: number) {
    super(`${length} bytes at guest address 0x${gpa.toString(16)} are not in guest memory`);
    this.name = 'GuestAddressError';
  }
}

export class GuestMemory {
  readonly regions: readonly MemoryRegion[];
  /** Sum of the regions' sizes in bytes. */
  readonly sizeBytes: number;

  constructor(regions: readonly MemoryRegion[]) {
    this.regions = regions;
    this.sizeBytes = regions.reduce((sum, region) => sum + region.sizeBytes, 0);
  }

  /** True when [gpa, gpa + length) is within one region. */
  contains(gpa: number, length: number): boolean {
    return this.#find(gpa, length) !== undefined;
  }

  /**
   * A view of [gpa, gpa + length), valid until the machine is closed.
   * @throws GuestAddressError unless the range is within one region
   */
  slice(gpa: number, length: number): Uint8Array {
    const region = this.#find(gpa, length);
    if (region === undefined) throw new GuestAddressError(gpa, length);
    const start = gpa - region.gpa;
    return region.bytes.subarray(start, start + length);
  }

  /** As {@link slice}, but a DataView. Guest structures are little-endian. */
  view(gpa: number, length: number): DataView {
    const bytes = this.slice(gpa, length);
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Copies `bytes` to `gpa`. */
  write(gpa: number, bytes: Uint8Array): void {
    this.slice(gpa, bytes.byteLength).set(bytes);
  }

  #find(gpa: number, length: number): MemoryRegion | undefined {
    if (!Number.isSafeInteger(gpa) || length < 0) return undefined;
    return this.regions.find(
      (region) => gpa >= region.gpa && gpa + length <= region.gpa + region.sizeBytes,
    );
  }
}
