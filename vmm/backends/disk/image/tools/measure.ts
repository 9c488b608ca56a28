import { TimeSlices } from '../../../../util/event-loop.ts';
import type { DiskImage } from '../image.ts';
import { chainRuns, FileHoles, hasBytes } from './chain-map.ts';
import type { WorkControl } from './work-control.ts';

/**
 * The size of an image's content in whole clusters of the target, in bytes.
 * @throws TsvmError `invalid-disk`, `disk-io`; the signal's reason when aborted
 */
export async function contentBytes(
  image: DiskImage,
  clusterBytes: number,
  { signal }: WorkControl,
): Promise<number> {
  const holes = new FileHoles();
  const slices = new TimeSlices();
  let bytes = 0;
  /** Clusters before it have been counted. */
  let counted = 0;
  for (const run of chainRuns(image, 0, image.sizeBytes)) {
    await slices.next();
    signal?.throwIfAborted();
    if (!hasBytes(run.kind)) continue;
    for (const { offset, length, isHole } of holes.partsOf(run)) {
      if (isHole) continue;
      const start = Math.max(counted, Math.floor(offset / clusterBytes) * clusterBytes);
      counted = Math.max(counted, Math.ceil((offset + length) / clusterBytes) * clusterBytes);
      bytes += Math.max(0, counted - start);
    }
  }
  return bytes;
}
