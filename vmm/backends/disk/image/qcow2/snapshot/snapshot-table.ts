/** The snapshot table: docs/interop/qcow2.txt, "Snapshots". */
import { TsvmError } from '../../../../../errors.ts';
import type { ImageFile } from '../../../file/image-file.ts';
import { L1_BYTES_MAX, SNAPSHOTS_MAX } from '../header/layout.ts';

/** "Snapshot table entry": byte offsets of the fields. */
const Field = {
  l1_table_offset: 0,
  l1_size: 8,
  id_str_size: 12,
  name_size: 14,
  date_sec: 16,
  date_nsec: 20,
  vm_clock_nsec: 24,
  vm_state_size: 32,
  extra_data_size: 36,
} as const;
const FIXED_BYTES = 40;

/**
 * "Extra data for future extensions": byte offsets of the fields, and the lengths with each field
 * included.
 */
const Extra = { vm_state_size: 0, disk_size: 8, icount: 16 } as const;
const EXTRA_WITH_STATE_SIZE = 8;
const EXTRA_WITH_DISK_SIZE = 16;
const EXTRA_WITH_ICOUNT = 24;

/** QEMU's limits of an entry's extra data and of the table, in bytes. */
const EXTRA_BYTES_MAX = 1024;
const TABLE_BYTES_MAX = 1024 * SNAPSHOTS_MAX;
/** QEMU's limit of a name, in bytes. */
export const SNAPSHOT_NAME_BYTES_MAX = 255;

const ALIGNMENT = 8;
const L1_ENTRY_BYTES = 8;
/** The value for an absent instruction count. */
const NO_ICOUNT = 2n ** 64n - 1n;

/** A snapshot's entry. */
export interface SnapshotInfo {
  /** A decimal number in images of tsvm and QEMU; other programs may use any string. */
  readonly id: string;
  readonly name: string;
  readonly dateSeconds: number;
  readonly dateNanoseconds: number;
  /** How long the machine had run, in `ns`. */
  readonly vmClockNanoseconds: bigint;
  /**
   * Size of the machine state that is stored past the disk's end, in bytes; 0 for a snapshot of the
   * disk only.
   */
  readonly vmStateBytes: number;
  /** Instructions executed by the machine; undefined when they were not counted. */
  readonly icount: bigint | undefined;
  /**
   * The disk's size at that time; undefined in images of version 2 without it: the current size.
   */
  readonly diskBytes: number | undefined;
}

export interface Snapshot extends SnapshotInfo {
  readonly l1TableOffset: number;
  readonly l1Entries: number;
  /** The raw entry, with fields that tsvm does not know. */
  readonly record: Uint8Array;
  /** "At least 16 bytes of extra data" in version 3. */
  readonly isIncomplete: boolean;
}

export interface SnapshotTable {
  readonly snapshots: readonly Snapshot[];
  /** Without the padding after the last entry. */
  readonly bytes: number;
}

/** The table's place according to the header. */
export interface SnapshotTablePlace {
  readonly snapshotCount: number;
  readonly snapshotsOffset: number;
}

/** @throws TsvmError `invalid-disk` when the table is longer than any program writes */
export function readSnapshotTable(
  file: ImageFile,
  place: SnapshotTablePlace,
  version: number,
): SnapshotTable {
  if (place.snapshotCount > SNAPSHOTS_MAX) {
    throw invalid(file, `has ${place.snapshotCount} snapshots, more than ${SNAPSHOTS_MAX}`);
  }
  const snapshots: Snapshot[] = [];
  const start = place.snapshotsOffset;
  let end = start;
  for (let index = 0; index < place.snapshotCount; index++) {
    const record = readRecord(file, align(end), index);
    snapshots.push(decode(record, version));
    end = align(end) + record.byteLength;
    if (end - start > TABLE_BYTES_MAX) {
      throw invalid(file, `has a snapshot table of more than ${TABLE_BYTES_MAX / 2 ** 20} MiB`);
    }
  }
  return { snapshots, bytes: end - start };
}

function readRecord(file: ImageFile, offset: number, index: number): Uint8Array {
  const fixed = Buffer.alloc(FIXED_BYTES);
  file.readSync(offset, fixed);
  const extraBytes = fixed.readUInt32BE(Field.extra_data_size);
  if (extraBytes > EXTRA_BYTES_MAX) {
    throw invalid(
      file,
      `claims ${extraBytes} bytes of extra data in snapshot table entry ${index}, more than ` +
        `${EXTRA_BYTES_MAX}`,
    );
  }
  const idBytes = fixed.readUInt16BE(Field.id_str_size);
  const nameBytes = fixed.readUInt16BE(Field.name_size);
  const record = new Uint8Array(FIXED_BYTES + extraBytes + idBytes + nameBytes);
  file.readSync(offset, record);
  return record;
}

function decode(record: Uint8Array, version: number): Snapshot {
  const fields = Buffer.from(record.buffer, record.byteOffset, record.byteLength);
  const extraBytes = fields.readUInt32BE(Field.extra_data_size);
  const extra = fields.subarray(FIXED_BYTES, FIXED_BYTES + extraBytes);
  const { id, name } = texts(fields);
  const has = (bytes: number) => extraBytes >= bytes;
  const icount = has(EXTRA_WITH_ICOUNT) ? extra.readBigUInt64BE(Extra.icount) : NO_ICOUNT;
  return {
    id: id.toString(),
    name: name.toString(),
    dateSeconds: fields.readUInt32BE(Field.date_sec),
    dateNanoseconds: fields.readUInt32BE(Field.date_nsec),
    vmClockNanoseconds: fields.readBigUInt64BE(Field.vm_clock_nsec),
    vmStateBytes: has(EXTRA_WITH_STATE_SIZE)
      ? Number(extra.readBigUInt64BE(Extra.vm_state_size))
      : fields.readUInt32BE(Field.vm_state_size),
    icount: icount === NO_ICOUNT ? undefined : icount,
    diskBytes: has(EXTRA_WITH_DISK_SIZE)
      ? Number(extra.readBigUInt64BE(Extra.disk_size))
      : undefined,
    l1TableOffset: Number(fields.readBigUInt64BE(Field.l1_table_offset)),
    l1Entries: fields.readUInt32BE(Field.l1_size),
    record,
    isIncomplete: version >= 3 && !has(EXTRA_WITH_DISK_SIZE),
  };
}

function texts(fields: Buffer): { id: Buffer; name: Buffer } {
  const idStart = FIXED_BYTES + fields.readUInt32BE(Field.extra_data_size);
  const nameStart = idStart + fields.readUInt16BE(Field.id_str_size);
  return { id: fields.subarray(idStart, nameStart), name: fields.subarray(nameStart) };
}

/** A new snapshot of the disk alone. */
export function diskSnapshot(
  info: Pick<SnapshotInfo, 'id' | 'name' | 'dateSeconds' | 'dateNanoseconds'> & {
    readonly diskBytes: number;
  },
  l1TableOffset: number,
  l1Entries: number,
): Snapshot {
  const id = Buffer.from(info.id);
  const name = Buffer.from(info.name);
  const fixed = Buffer.alloc(FIXED_BYTES);
  fixed.writeBigUInt64BE(BigInt(l1TableOffset), Field.l1_table_offset);
  fixed.writeUInt32BE(l1Entries, Field.l1_size);
  fixed.writeUInt16BE(id.byteLength, Field.id_str_size);
  fixed.writeUInt16BE(name.byteLength, Field.name_size);
  fixed.writeUInt32BE(info.dateSeconds, Field.date_sec);
  fixed.writeUInt32BE(info.dateNanoseconds, Field.date_nsec);
  fixed.writeUInt32BE(EXTRA_WITH_ICOUNT, Field.extra_data_size);
  const record = Buffer.concat([fixed, extraData(0n, BigInt(info.diskBytes)), id, name]);
  return decode(record, 3);
}

function extraData(vmStateBytes: bigint, diskBytes: bigint): Buffer {
  const extra = Buffer.alloc(EXTRA_WITH_ICOUNT);
  extra.writeBigUInt64BE(vmStateBytes, Extra.vm_state_size);
  extra.writeBigUInt64BE(diskBytes, Extra.disk_size);
  extra.writeBigUInt64BE(NO_ICOUNT, Extra.icount);
  return extra;
}

/** Adds the extra data that version 3 requires. */
export function completed(snapshot: Snapshot, diskBytes: number): Snapshot {
  const fixed = Buffer.from(snapshot.record.subarray(0, FIXED_BYTES));
  const { id, name } = texts(Buffer.from(snapshot.record));
  fixed.writeUInt32BE(EXTRA_WITH_ICOUNT, Field.extra_data_size);
  const extra = extraData(BigInt(snapshot.vmStateBytes), BigInt(diskBytes));
  return decode(Buffer.concat([fixed, extra, id, name]), 3);
}

/** @throws TsvmError `invalid-config` when it would be longer than programs accept */
export function encodeSnapshotTable(snapshots: readonly Snapshot[]): Uint8Array {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for (const { record } of snapshots) {
    const padding = align(bytes) - bytes;
    parts.push(new Uint8Array(padding), record);
    bytes += padding + record.byteLength;
  }
  if (snapshots.length > SNAPSHOTS_MAX || bytes > TABLE_BYTES_MAX) {
    throw new TsvmError(
      'invalid-config',
      `a qcow2 image has at most ${SNAPSHOTS_MAX} snapshots, which take ` +
        `${TABLE_BYTES_MAX / 2 ** 20} MiB at most; delete some`,
    );
  }
  return Buffer.concat(parts);
}

/** The reason why a snapshot's L1 table is invalid; undefined when it is valid. */
export function snapshotL1Problem(snapshot: Snapshot, clusterBytes: number): string | undefined {
  if (snapshot.l1TableOffset % clusterBytes !== 0) {
    return `its L1 table at ${snapshot.l1TableOffset} is not aligned to a cluster`;
  }
  if (snapshot.l1Entries > L1_BYTES_MAX / L1_ENTRY_BYTES) {
    return `its L1 table claims ${snapshot.l1Entries} entries`;
  }
  return undefined;
}

/** Finds a snapshot by ID or name; `first` says which is tried first. */
export function findSnapshot(
  snapshots: readonly Snapshot[],
  idOrName: string,
  first: 'id' | 'name',
): Snapshot | undefined {
  const byId = snapshots.find((snapshot) => snapshot.id === idOrName);
  const byName = snapshots.find((snapshot) => snapshot.name === idOrName);
  return first === 'id' ? (byId ?? byName) : (byName ?? byId);
}

/** An unused ID: one more than the highest number. */
export function freeSnapshotId(snapshots: readonly Snapshot[]): string {
  const highest = snapshots.reduce(
    (most, { id }) => Math.max(most, /^\d{1,15}$/.test(id) ? Number(id) : 0),
    0,
  );
  return String(highest + 1);
}

function align(offset: number): number {
  return Math.ceil(offset / ALIGNMENT) * ALIGNMENT;
}

function invalid(file: ImageFile, what: string): TsvmError {
  return new TsvmError('invalid-disk', `${file.path}: the image ${what}`);
}
