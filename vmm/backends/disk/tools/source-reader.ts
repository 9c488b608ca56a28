import type { DiskImage } from '../image.ts';

/** Reads from images as if they were one, each behind the one before it. */
export async function readSources(
  sources: readonly DiskImage[],
  offset: number,
  target: Uint8Array,
): Promise<void> {
  const end = offset + target.length;
  let start = 0;
  for (const source of sources) {
    const from = Math.max(offset, start);
    const to = Math.min(end, start + source.sizeBytes);
    if (from < to) await source.read(from - start, target.subarray(from - offset, to - offset));
    start += source.sizeBytes;
  }
}
