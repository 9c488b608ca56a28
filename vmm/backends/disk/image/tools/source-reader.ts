import { TsvmError } from '../../../../errors.ts';
import { SECTOR_BYTES } from '../../file/sector.ts';
import type { DiskImage } from '../image.ts';

/** Called for each range of bytes that cannot be read. */
export type OnLost = (offset: number, length: number, error: TsvmError) => void;

/**
 * Reads from images as if they were concatenated.
 * @param onLost receives what cannot be read, which becomes zeroes sector by sector; without it
 * that is an error
 */
export async function readSources(
  sources: readonly DiskImage[],
  offset: number,
  target: Uint8Array,
  onLost?: OnLost,
): Promise<void> {
  const end = offset + target.length;
  let start = 0;
  for (const source of sources) {
    const from = Math.max(offset, start);
    const to = Math.min(end, start + source.sizeBytes);
    if (from < to) {
      const part = target.subarray(from - offset, to - offset);
      if (onLost === undefined) await source.read(from - start, part);
      else await salvage(source, from - start, part, start, onLost);
    }
    start += source.sizeBytes;
  }
}

/** @param start offset of the source in the concatenation */
async function salvage(
  source: DiskImage,
  offset: number,
  target: Uint8Array,
  start: number,
  onLost: OnLost,
): Promise<void> {
  let lost: { offset: number; length: number; error: TsvmError } | undefined;
  const tell = () => {
    if (lost !== undefined) onLost(start + lost.offset, lost.length, lost.error);
  };
  await readPart(source, offset, target, (at, length, error) => {
    if (lost !== undefined && lost.offset + lost.length === at) {
      lost.length += length;
      return;
    }
    tell();
    lost = { offset: at, length, error };
  });
  tell();
}

async function readPart(
  source: DiskImage,
  offset: number,
  target: Uint8Array,
  onLost: OnLost,
): Promise<void> {
  try {
    await source.read(offset, target);
  } catch (error) {
    if (!(error instanceof TsvmError)) throw error;
    if (target.length <= SECTOR_BYTES) {
      target.fill(0);
      onLost(offset, target.length, error);
      return;
    }
    // Bisects, so that few reads find the few lost sectors.
    const half = Math.ceil(target.length / 2 / SECTOR_BYTES) * SECTOR_BYTES;
    await readPart(source, offset, target.subarray(0, half), onLost);
    await readPart(source, offset + half, target.subarray(half), onLost);
  }
}
