import type { ImageFile } from '../../../file/image-file.ts';
import type { Header } from '../header/header-fields.ts';
import { LiveHeader } from '../header/live-header.ts';
import { completed, encodeSnapshotTable } from '../snapshot/snapshot-table.ts';
import { type Examination, examine } from './check.ts';
import { type CheckResult, isSound } from './check-report.ts';
import { correctRefcounts, rebuildRefcounts } from './refcount-repair.ts';
import { repairCopiedFlags, repairEntries } from './table-repair.ts';

/** Free only lost space, or repair everything possible. */
export type RepairMode = 'leaks' | 'all';

/**
 * Checks an image and repairs it. The guest's content does not change; an entry that points to an
 * impossible place is left, since its content cannot be found. If in the end nothing is wrong
 * except lost space, the image is no longer marked dirty or corrupt.
 *
 * A crash leaves an image that can be repaired again: version 3 is marked dirty meanwhile, and each
 * step is durable before the next, which relies on it.
 *
 * @returns what is wrong afterwards, how much was repaired, and messages about what was wrong
 * before
 * @throws TsvmError `invalid-disk` when the header or the snapshot table is invalid, `disk-io`
 */
export function repairImage(file: ImageFile, mode: RepairMode): CheckResult {
  const before = examine(file);
  let after = before;
  if (before.result.leaks > 0 || !isSound(before.result)) {
    const { version } = before.image.header;
    const marked = version >= 3 ? withHeader(before, { dirty: true }) : before;
    after = mode === 'all' ? repairAll(marked) : repairLeaks(marked);
  }
  finish(after, before.image.header);
  return {
    ...after.result,
    leaksFixed: Math.max(0, before.result.leaks - after.result.leaks),
    corruptionsFixed: Math.max(0, before.result.corruptions - after.result.corruptions),
    problems: before.result.problems,
  };
}

function repairLeaks(found: Examination): Examination {
  const { file } = found.image;
  // Refcount blocks that overlap something else must not be written.
  if (found.references.needs.refcountsBroken) return found;
  correctRefcounts(found.image, found.references, 'leaks');
  const corrected = examine(file);
  const { copiedMismatches } = corrected.references.needs;
  const { leaks, checkErrors, corruptions } = corrected.result;
  // The flags follow from the refcounts, if those are correct.
  if (copiedMismatches === 0 || leaks > 0 || checkErrors > 0 || corruptions > copiedMismatches) {
    return corrected;
  }
  repairCopiedFlags(corrected.image, corrected.references);
  return examine(file);
}

function repairAll(broken: Examination): Examination {
  const { file } = broken.image;
  const found = repairTables(broken);
  const { needs } = found.references;
  if (needs.refcountsBroken || found.blocksMissing) {
    // Entries that point past the file's end would now point to the new refcounts.
    if (needs.pastEnd) return found;
    rebuildRefcounts(found.image, found.references);
  } else {
    correctRefcounts(found.image, found.references, 'all');
  }
  const counted = examine(file);
  if (counted.references.needs.copiedMismatches === 0) return counted;
  repairCopiedFlags(counted.image, counted.references);
  return examine(file);
}

/** Repairs references to clusters, as far as possible, before they are counted. */
function repairTables(found: Examination): Examination {
  const { file } = found.image;
  const { needs } = found.references;
  if (needs.repairableEntries > 0) repairEntries(found.image, found.references);
  // Their clusters become lost space and are freed with the rest of it.
  if (needs.bitmapsBroken) {
    withHeader(found, { bitmapsConsistent: false, bitmaps: undefined });
  }
  if (needs.snapshotsIncomplete && !needs.pastEnd) completeSnapshots(file);
  const changed = needs.repairableEntries > 0 || needs.bitmapsBroken || needs.snapshotsIncomplete;
  return changed ? examine(file) : found;
}

/**
 * Rewrites the snapshot table after everything in use. Its refcounts are corrected with all others.
 */
function completeSnapshots(file: ImageFile): void {
  const found = examine(file);
  const { geometry, header, snapshotTable } = found.image;
  let end = 0;
  found.references.counts.forEach((cluster) => {
    end = cluster + 1;
  });
  const snapshots = snapshotTable.snapshots.map((snapshot) =>
    snapshot.isIncomplete ? completed(snapshot, header.sizeBytes) : snapshot,
  );
  const offset = end * geometry.clusterBytes;
  file.writeSync(offset, encodeSnapshotTable(snapshots));
  file.datasyncSync();
  withHeader(found, { snapshotsOffset: offset });
}

/** Changes the header in the file, durably. */
function withHeader(examination: Examination, changes: Partial<Header>): Examination {
  const header = new LiveHeader(examination.image.file, examination.image.header);
  header.update(changes);
  return { ...examination, image: { ...examination.image, header: header.current } };
}

/** Everything is durable: the image can be used again, or is no worse than before. */
function finish(after: Examination, original: Header): void {
  const sound = isSound(after.result);
  const dirty = original.dirty && !sound;
  const corrupt = original.corrupt && !sound;
  const { header } = after.image;
  if (header.dirty !== dirty || header.corrupt !== corrupt) withHeader(after, { dirty, corrupt });
}
