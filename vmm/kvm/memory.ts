import type { NativeMemory } from '../../kvm-addon/index.d.ts';
import { GuestMemory } from '../memory/guest-memory.ts';
import { loadAddon } from './addon.ts';
import { withKvmErrors } from './kvm-error.ts';

/** Guest memory that a KVM virtual machine and queue workers can use. */
export class KvmMemory extends GuestMemory {
  readonly native: NativeMemory;

  /** Regions are page-aligned and cost nothing until touched. At most four. */
  constructor(regions: readonly { gpa: number; sizeBytes: number }[]) {
    const { NativeMemory } = loadAddon();
    const native = withKvmErrors('reserving guest memory', () => new NativeMemory(regions));
    super(regions.map(({ gpa }, index) => ({ gpa, bytes: new Uint8Array(native.region(index)) })));
    this.native = native;
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
