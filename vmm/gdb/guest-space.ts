/** Guest memory by the virtual addresses of a vCPU. */
import type { GuestMemory } from '../memory/guest-memory.ts';
import type { CpuRegisters } from './registers.ts';

const PAGE_BITS = 12n;
const PAGE_SIZE = 1n << PAGE_BITS;
const INDEX_BITS = 9n;
const ENTRY_PRESENT = 1n;
const ENTRY_LARGE = 1n << 7n;
const ENTRY_ADDRESS = 0x000f_ffff_ffff_f000n;
const CR0_PG = 1n << 31n;
const CR4_LA57 = 1n << 12n;
const EFER_LMA = 1n << 10n;
const ADDRESS_MASK = (1n << 64n) - 1n;

/** A part of a range that is contiguous in guest-physical memory. */
interface Part {
  readonly gpa: number;
  readonly bytes: number;
}

/**
 * What a vCPU's page tables map, in long mode (SDM 3A 4.5) and without paging. Nothing is mapped in
 * the paging modes of 32-bit kernels, nor what is not RAM: reading a device's registers changes it.
 */
export class GuestSpace {
  readonly #memory: GuestMemory;
  readonly #root: bigint;
  /** 0: there is no paging. */
  readonly #levels: bigint | undefined;

  constructor(memory: GuestMemory, registers: CpuRegisters) {
    this.#memory = memory;
    this.#root = registers.number('cr3') & ENTRY_ADDRESS;
    const isPaging = (registers.number('cr0') & CR0_PG) !== 0n;
    if (!isPaging) this.#levels = 0n;
    else if (registers.number('efer') & EFER_LMA)
      this.#levels = registers.number('cr4') & CR4_LA57 ? 5n : 4n;
  }

  /** @returns the guest-physical address, or undefined where nothing is mapped */
  translate(va: bigint): number | undefined {
    const address = va & ADDRESS_MASK;
    const levels = this.#levels;
    if (levels === undefined) return undefined;
    if (levels === 0n) return Number(address);
    const bits = PAGE_BITS + levels * INDEX_BITS;
    if ((BigInt.asIntN(Number(bits), address) & ADDRESS_MASK) !== address) return undefined;
    let table = this.#root;
    for (let level = levels; level > 0n; level--) {
      const shift = PAGE_BITS + (level - 1n) * INDEX_BITS;
      const index = (address >> shift) & ((1n << INDEX_BITS) - 1n);
      const entry = this.#entry(table + index * 8n);
      if (entry === undefined || (entry & ENTRY_PRESENT) === 0n) return undefined;
      const isLeaf = level === 1n || (level <= 3n && (entry & ENTRY_LARGE) !== 0n);
      const inside = (1n << shift) - 1n;
      if (isLeaf) return Number((entry & ENTRY_ADDRESS & ~inside) | (address & inside));
      table = entry & ENTRY_ADDRESS;
    }
    return undefined;
  }

  /** Copies up to `length` bytes: as many as are mapped without a gap. */
  read(va: bigint, length: number): Uint8Array {
    const bytes: Uint8Array[] = [];
    for (const part of this.#parts(va, length)) {
      if (part === undefined) break;
      bytes.push(Uint8Array.from(this.#memory.slice(part.gpa, part.bytes)));
    }
    return Buffer.concat(bytes);
  }

  /** Writes to pages that the guest may not write to, too. @returns false if not all is mapped */
  write(va: bigint, bytes: Uint8Array): boolean {
    const parts = [...this.#parts(va, bytes.byteLength)];
    if (parts.includes(undefined)) return false;
    let offset = 0;
    for (const part of parts) {
      if (part === undefined) continue;
      this.#memory.write(part.gpa, bytes.subarray(offset, offset + part.bytes));
      offset += part.bytes;
    }
    return true;
  }

  *#parts(va: bigint, length: number): Generator<Part | undefined> {
    for (let done = 0; done < length; ) {
      const at = va + BigInt(done);
      const room = Number(PAGE_SIZE - (at & (PAGE_SIZE - 1n)));
      const bytes = Math.min(length - done, room);
      const gpa = this.translate(at);
      yield gpa !== undefined && this.#memory.contains(gpa, bytes) ? { gpa, bytes } : undefined;
      done += bytes;
    }
  }

  #entry(gpa: bigint): bigint | undefined {
    const at = Number(gpa);
    if (!this.#memory.contains(at, 8)) return undefined;
    return this.#memory.view(at, 8).getBigUint64(0, true);
  }
}
