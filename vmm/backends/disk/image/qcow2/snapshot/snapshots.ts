/**
 * Internal snapshots: docs/interop/qcow2.txt, "Snapshots". They are taken and applied while no
 * machine uses the image, since they change what is writable in place.
 *
 * After a crash a snapshot exists completely or not at all. Version 3 is marked dirty meanwhile, so
 * that refcounts and flags are repaired when it is opened. In version 2, which has no such mark,
 * space may be lost and flags may not match refcounts. That is no danger to content: refcounts in
 * the file are never lower than the references there.
 */
import { TsvmError } from '../../../../../errors.ts';
import { HIGH_COPIED, L1_BYTES_MAX } from '../header/layout.ts';
import type { ImageMetadata } from '../image-metadata.ts';
import { L1_ENTRY_BYTES, L1Table } from '../map/l1-table.ts';
import type { Qcow2Image } from '../qcow2-image.ts';
import { updateCopiedFlags } from './copied-flags.ts';
import {
  addReferences,
  assertRoomFor,
  countL1References,
  dropReferences,
} from './snapshot-references.ts';
import {
  diskSnapshot,
  encodeSnapshotTable,
  findSnapshot,
  freeSnapshotId,
  readSnapshotTable,
  SNAPSHOT_NAME_BYTES_MAX,
  type Snapshot,
  type SnapshotInfo,
  type SnapshotTable,
  snapshotL1Problem,
} from './snapshot-table.ts';

/** Adjoining clusters. */
interface Area {
  readonly first: number;
  readonly count: number;
}

export function listSnapshots(image: Qcow2Image): readonly SnapshotInfo[] {
  return readTable(image).snapshots;
}

/**
 * Takes a snapshot of the disk. Names need not be unique.
 * @throws TsvmError `invalid-config` when the image cannot have (more) snapshots
 */
export function createSnapshot(image: Qcow2Image, name: string, date = new Date()): SnapshotInfo {
  const nameBytes = Buffer.byteLength(name);
  if (nameBytes === 0 || nameBytes > SNAPSHOT_NAME_BYTES_MAX) {
    throw new TsvmError(
      'invalid-config',
      `a snapshot's name has 1 to ${SNAPSHOT_NAME_BYTES_MAX} bytes, not ${nameBytes}`,
    );
  }
  const { metadata } = image;
  begin(image);
  const table = readTable(image);
  const { l1 } = metadata;
  const references = countL1References(metadata, l1.view);
  assertRoomFor(metadata, references);
  const milliseconds = date.getTime();
  const info = {
    id: freeSnapshotId(table.snapshots),
    name,
    dateSeconds: Math.floor(milliseconds / 1000),
    dateNanoseconds: (milliseconds % 1000) * 1e6,
    diskBytes: image.sizeBytes,
  };
  // The place is not known yet; this checks the length of the table.
  encodeSnapshotTable([...table.snapshots, diskSnapshot(info, 0, l1.entries)]);

  return changeReferences(image, () => {
    addReferences(metadata, references);
    updateCopiedFlags(metadata, () => image.flushSync());
    const area = writeNew(metadata, withoutCopied(l1.bytes));
    const snapshot = diskSnapshot(info, area.first * image.clusterBytes, l1.entries);
    replaceTable(image, table, [...table.snapshots, snapshot]);
    return snapshot;
  });
}

/**
 * Restores the disk from a snapshot, including its size. The current state is lost unless another
 * snapshot has it; the snapshot stays.
 * @param idOrName an ID, or else a name
 */
export function applySnapshot(image: Qcow2Image, idOrName: string): void {
  const { metadata, clusterBytes } = image;
  begin(image);
  const snapshot = find(image, readTable(image).snapshots, idOrName, 'id');
  const snapshotL1 = readSnapshotL1(metadata, snapshot);
  const sizeBytes = snapshot.diskBytes ?? image.sizeBytes;
  const entries = Math.max(
    Math.ceil(sizeBytes / metadata.geometry.tableSpanBytes),
    snapshot.l1Entries,
  );
  if (
    !Number.isSafeInteger(sizeBytes) ||
    sizeBytes % 512 !== 0 ||
    entries * L1_ENTRY_BYTES > L1_BYTES_MAX
  ) {
    throw invalid(metadata, snapshot, `it claims that the disk had ${sizeBytes} bytes`);
  }
  const added = countL1References(metadata, viewOf(snapshotL1));
  assertRoomFor(metadata, added);
  const dropped = countL1References(metadata, metadata.l1.view);

  changeReferences(image, () => {
    const old = { offset: metadata.l1.fileOffset, bytes: metadata.l1.bytes.byteLength };
    addReferences(metadata, added);
    clearCopiedInFile(metadata, snapshotL1);
    const l1Bytes = new Uint8Array(entries * L1_ENTRY_BYTES);
    l1Bytes.set(withoutCopied(snapshotL1));
    const l1Offset = writeNew(metadata, l1Bytes).first * clusterBytes;
    makeDurable(image);
    metadata.header.update({ l1Offset, l1Entries: entries, sizeBytes });
    metadata.replaceL1(new L1Table(l1Offset, l1Bytes));
    dropReferences(metadata, dropped);
    free(metadata, areaOf(old.offset, old.bytes, clusterBytes));
  });
}

/** @param nameOrId a name, or else an ID */
export function deleteSnapshot(image: Qcow2Image, nameOrId: string): void {
  const { metadata, clusterBytes } = image;
  begin(image);
  const table = readTable(image);
  const snapshot = find(image, table.snapshots, nameOrId, 'name');
  const l1 = readSnapshotL1(metadata, snapshot);
  const references = countL1References(metadata, viewOf(l1));

  changeReferences(image, () => {
    const others = table.snapshots.filter((other) => other !== snapshot);
    replaceTable(image, table, others);
    dropReferences(metadata, references);
    free(metadata, areaOf(snapshot.l1TableOffset, l1.byteLength, clusterBytes));
    image.flushSync();
    updateCopiedFlags(metadata, () => image.flushSync());
  });
}

/** Flushes, so that the file is complete and may be changed. */
function begin(image: Qcow2Image): void {
  const { metadata } = image;
  metadata.beginWrite();
  if (metadata.geometry.externalData) {
    throw new TsvmError(
      'invalid-config',
      `${image.file.path} has an external data file, and can have no snapshots`,
    );
  }
  image.flushSync();
}

/** Runs a change during which refcounts and flags in the file may not match. */
function changeReferences<T>(image: Qcow2Image, change: () => T): T {
  const { metadata } = image;
  const { header } = metadata;
  const mark = metadata.geometry.version >= 3 && !header.current.dirty;
  let result: T | undefined;
  metadata.changeStructure(() => {
    if (mark) header.setDirty(true);
    result = change();
    makeDurable(image);
    // With lazy refcounts, the mark stays until they are written.
    if (mark && !metadata.leavesRefcounts) header.setDirty(false);
  });
  return result as T;
}

/** Flushes metadata, and the refcounts of what the flush has freed. */
function makeDurable(image: Qcow2Image): void {
  image.flushSync();
  image.file.datasyncSync();
}

/** Makes the header refer to a new snapshot table; the clusters of the old one become free. */
function replaceTable(image: Qcow2Image, old: SnapshotTable, snapshots: readonly Snapshot[]): void {
  const { metadata, clusterBytes } = image;
  const oldArea = areaOf(metadata.header.current.snapshotsOffset, old.bytes, clusterBytes);
  const area =
    snapshots.length > 0
      ? writeNew(metadata, encodeSnapshotTable(snapshots))
      : { first: 0, count: 0 };
  makeDurable(image);
  metadata.header.update({
    snapshotCount: snapshots.length,
    snapshotsOffset: area.first * clusterBytes,
  });
  const inUse = metadata.metadataClusters();
  inUse.remove(oldArea.first, oldArea.count);
  inUse.add(area.first, area.count);
  free(metadata, oldArea);
}

/** Writes a table to new clusters, and all of each. */
function writeNew(metadata: ImageMetadata, bytes: Uint8Array): Area {
  const { allocator, file, geometry } = metadata;
  const { count } = areaOf(0, bytes.byteLength, geometry.clusterBytes);
  if (count === 0) return { first: 0, count };
  const { first } = allocator.allocateContiguous(count);
  const whole = new Uint8Array(count * geometry.clusterBytes);
  whole.set(bytes);
  file.writeSync(first * geometry.clusterBytes, whole);
  return { first, count };
}

function free(metadata: ImageMetadata, area: Area): void {
  if (area.count > 0) metadata.allocator.free(area.first, area.count);
}

function areaOf(offset: number, bytes: number, clusterBytes: number): Area {
  return { first: Math.floor(offset / clusterBytes), count: Math.ceil(bytes / clusterBytes) };
}

/**
 * Entries that only snapshots have may carry the flag; they become active now and are shared. The
 * image's own tables have been flushed and are reread afterwards.
 */
function clearCopiedInFile(metadata: ImageMetadata, l1Bytes: Uint8Array): void {
  const { file, geometry } = metadata;
  metadata.l2.cache.clear();
  const l1 = new L1Table(0, l1Bytes);
  const bytes = new Uint8Array(geometry.clusterBytes);
  for (let index = 0; index < l1.entries; index++) {
    const offset = l1.l2Offset(index);
    if (offset === 0) continue;
    file.readSync(offset, bytes);
    const changed = withoutCopied(bytes, geometry.l2EntryBytes);
    if (Buffer.from(bytes.buffer).equals(changed)) continue;
    // No table in use has the flag in entries that it shares with a snapshot.
    if (metadata.overlapsMetadata(offset, geometry.clusterBytes)) {
      metadata.corrupt(`a snapshot's L2 table at ${offset} overlaps something else`);
    }
    file.writeSync(offset, changed);
  }
}

/** A copy of a table in which no entry has the flag COPIED. */
function withoutCopied(table: Uint8Array, entryBytes = L1_ENTRY_BYTES): Uint8Array {
  const copy = table.slice();
  const view = viewOf(copy);
  for (let at = 0; at < copy.byteLength; at += entryBytes) {
    view.setUint32(at, view.getUint32(at) & ~HIGH_COPIED);
  }
  return copy;
}

function readTable(image: Qcow2Image): SnapshotTable {
  return readSnapshotTable(image.file, image.header, image.header.version);
}

function readSnapshotL1(metadata: ImageMetadata, snapshot: Snapshot): Uint8Array {
  const { allocator, file, geometry } = metadata;
  const problem = snapshotL1Problem(snapshot, geometry.clusterBytes);
  if (problem !== undefined) throw invalid(metadata, snapshot, problem);
  const bytes = new Uint8Array(snapshot.l1Entries * L1_ENTRY_BYTES);
  if (snapshot.l1TableOffset + bytes.byteLength > allocator.endOffset) {
    throw invalid(metadata, snapshot, "its L1 table is past the file's end");
  }
  file.readSync(snapshot.l1TableOffset, bytes);
  return bytes;
}

function find(
  image: Qcow2Image,
  snapshots: readonly Snapshot[],
  wanted: string,
  first: 'id' | 'name',
): Snapshot {
  const snapshot = findSnapshot(snapshots, wanted, first);
  if (snapshot !== undefined) return snapshot;
  throw new TsvmError(
    'invalid-config',
    `${image.file.path} has no snapshot ${JSON.stringify(wanted)}; ` +
      `"tsvm image snapshot -l ${image.file.path}" lists those it has`,
  );
}

function invalid(metadata: ImageMetadata, snapshot: Snapshot, problem: string): TsvmError {
  return new TsvmError(
    'invalid-disk',
    `${metadata.file.path}: snapshot ${JSON.stringify(snapshot.name)} cannot be used: ${problem}`,
  );
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
