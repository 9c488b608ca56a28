import type { ImageFile } from '../../vmm/backends/disk/file/image-file.ts';
import { examine } from '../../vmm/backends/disk/image/qcow2/check/check.ts';

/** Clusters whose refcount is lower than the number of references to them, which must never happen. */
export function lowRefcounts(file: ImageFile): number[] {
  const { image, references } = examine(file);
  const low: number[] = [];
  references.counts.forEach((cluster, counted) => {
    if ((image.stored.get(cluster) ?? 0) < Math.min(counted, image.stored.max)) low.push(cluster);
  });
  return low;
}
