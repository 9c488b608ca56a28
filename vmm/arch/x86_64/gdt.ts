/** Global descriptor table: Intel SDM volume 3, section 3.4.5, "Segment Descriptors". */
import type { KvmSegment } from './registers.ts';

const DESCRIPTOR_SIZE = 8;

/** The 8-byte descriptor of a code, data or 32-bit system segment; its base is below 4 GiB. */
export function encodeDescriptor(segment: KvmSegment): bigint {
  const limit = BigInt(segment.g ? segment.limit >>> 12 : segment.limit);
  const access = segment.type | (segment.s << 4) | (segment.dpl << 5) | (segment.present << 7);
  const flags = segment.avl | (segment.l << 1) | (segment.db << 2) | (segment.g << 3);
  return (
    (limit & 0xffffn) |
    ((segment.base & 0xffffffn) << 16n) |
    (BigInt(access) << 40n) |
    (((limit >> 16n) & 0xfn) << 48n) |
    (BigInt(flags) << 52n) |
    (((segment.base >> 24n) & 0xffn) << 56n)
  );
}

/**
 * A GDT with each segment at the index of its selector. It is made from the initial segment
 * registers, so reloading a selector yields the same segment.
 */
export function composeGdt(segments: readonly KvmSegment[]): Uint8Array {
  const last = Math.max(...segments.map((segment) => segment.selector >> 3));
  const bytes = new Uint8Array((last + 1) * DESCRIPTOR_SIZE);
  const view = new DataView(bytes.buffer);
  for (const segment of segments) {
    view.setBigUint64((segment.selector >> 3) * DESCRIPTOR_SIZE, encodeDescriptor(segment), true);
  }
  return bytes;
}
