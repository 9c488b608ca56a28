import type { ImageFile } from '../../../file/image-file.ts';
import type { CheckResult } from './check-report.ts';
import { type CheckedImage, readCheckedImage } from './checked-image.ts';
import { ClusterCounts } from './cluster-counts.ts';
import { countReferences, type References } from './references.ts';

/** A check with what a repair needs besides its result. */
export interface Examination {
  readonly result: CheckResult;
  readonly image: CheckedImage;
  readonly references: References;
  /** Some referenced clusters have no refcount block. */
  readonly blocksMissing: boolean;
}

/**
 * Compares the refcounts of an image with the references to its clusters, like `qemu-img check`. It
 * reads only the file, so an open image must be flushed before.
 *
 * @throws TsvmError `invalid-disk` when the header or the snapshot table is invalid, `disk-io`
 */
export function checkImage(file: ImageFile): CheckResult {
  return examine(file).result;
}

export function examine(file: ImageFile): Examination {
  const image = readCheckedImage(file);
  const references = countReferences(image);
  const { clustersInUse, blocksMissing } = compareRefcounts(image, references);
  const { geometry, header, report } = image;
  const result: CheckResult = {
    leaks: report.leaks,
    leaksFixed: 0,
    corruptions: report.corruptions,
    corruptionsFixed: 0,
    checkErrors: report.checkErrors,
    totalClusters: Math.ceil(header.sizeBytes / geometry.clusterBytes),
    allocatedClusters: report.allocatedClusters,
    compressedClusters: report.compressedClusters,
    fragmentedClusters: report.fragmentedClusters,
    imageEndOffset: clustersInUse * geometry.clusterBytes,
    problems: report.problems,
  };
  return { result, image, references, blocksMissing };
}

function compareRefcounts(
  image: CheckedImage,
  references: References,
): { clustersInUse: number; blocksMissing: boolean } {
  const { report, stored } = image;
  let last = 0;
  let blocksMissing = false;
  forEachCountedCluster(image, references, (cluster, refcount, counted) => {
    if (refcount === undefined) {
      report.checkError(`the refcount of cluster ${cluster} cannot be read`);
      return;
    }
    if (refcount > 0 || counted > 0) last = cluster;
    if (refcount === counted) return;
    const line = `cluster ${cluster} has the refcount ${refcount}, and ${counted} references`;
    if (refcount > counted) {
      report.leak(line);
      return;
    }
    report.corruption(line);
    blocksMissing ||= stored.isMissing(cluster);
  });
  return { clustersInUse: last + 1, blocksMissing };
}

/**
 * Calls `visit` in ascending order for each cluster of the file that has a refcount or is referred
 * to, and for some others. `counted` is what its refcount should be, as far as that fits.
 */
export function forEachCountedCluster(
  image: CheckedImage,
  references: References,
  visit: (cluster: number, refcount: number | undefined, counted: number) => void,
): void {
  const { stored, geometry } = image;
  const { counts, clusters } = references;
  // Powers of two, so that a step is inside one page of counts and one refcount block.
  const step = Math.min(geometry.refcountBlockEntries, ClusterCounts.PAGE_CLUSTERS);
  for (let start = 0; start < clusters; start += step) {
    if (stored.isMissing(start) && !counts.hasPageOf(start)) continue;
    const end = Math.min(start + step, clusters);
    for (let cluster = start; cluster < end; cluster++) {
      visit(cluster, stored.get(cluster), Math.min(counts.get(cluster), stored.max));
    }
  }
}
