/**
 * Guest-physical memory as TypeScript sees it: bounds-checked reads and writes by guest
 * physical address (`gpa`). Addresses are plain numbers: guest memory ends far below 2^53.
 */
export interface MemoryRegion {
  /** First address of the region, page-aligned. */
  readonly gpa: number;
  /** Whole pages. */
  readonly sizeBytes: number;
  /** The region's host memory, `sizeBytes` of it. */
  readonly bytes: Uint8Array;
}

/** An access to addresses that are not guest memory. Devices turn it into a guest error. */
export class GuestAddressError extends Error {
  constructor(gpa: number, length: number) {
    super(`guest address 0x${gpa.toString(16)} + ${length} is not in guest memory`);
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

  /** True when [gpa, gpa + length) lies within one region. */
  contains(gpa: number, length: number): boolean {
    return this.#find(gpa, length) !== undefined;
  }

  /**
   * A view of [gpa, gpa + length), which stays valid until the machine is closed.
   * @throws GuestAddressError unless the range lies within one region.
   */
  slice(gpa: number, length: number): Uint8Array {
    const region = this.#find(gpa, length);
    if (region === undefined) throw new GuestAddressError(gpa, length);
    const start = gpa - region.gpa;
    return region.bytes.subarray(start, start + length);
  }

  /** A DataView of the same range; guest structures are little-endian. */
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
