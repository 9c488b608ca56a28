import { TsvmError } from '../../../../errors.ts';
import type { ImageFile } from '../../file/image-file.ts';
import type { DiskImage } from '../image.ts';
import { HeaderField } from '../qcow2/header/layout.ts';
import { Qcow2Image } from '../qcow2/qcow2-image.ts';
import { readSnapshotTable, type Snapshot } from '../qcow2/snapshot/snapshot-table.ts';

/** Selects a snapshot; every given field must match. */
export interface SnapshotSelector {
  readonly id?: string | undefined;
  readonly name?: string | undefined;
  /** An ID, or else a name. */
  readonly idOrName?: string | undefined;
}

/**
 * An image as it was when a snapshot was taken, read-only.
 * @param image stays open while the view is used; the view itself needs no closing
 * @throws TsvmError `invalid-config` when there is no such snapshot, `invalid-disk`
 */
export function openSnapshot(image: DiskImage, selector: SnapshotSelector): DiskImage {
  const snapshot = image instanceof Qcow2Image ? find(image, selector) : undefined;
  if (!(image instanceof Qcow2Image) || snapshot === undefined) {
    throw new TsvmError(
      'invalid-config',
      `${image.file.path} has no snapshot ${JSON.stringify(selector.idOrName ?? selector)}`,
    );
  }
  const file = new SnapshotFile(image.file, snapshot);
  return Qcow2Image.open(file, { readOnly: true, backing: image.backing });
}

function find(image: Qcow2Image, { id, name, idOrName }: SnapshotSelector): Snapshot | undefined {
  const { snapshots } = readSnapshotTable(image.file, image.header, image.header.version);
  if (idOrName !== undefined) {
    return (
      snapshots.find((snapshot) => snapshot.id === idOrName) ??
      snapshots.find((snapshot) => snapshot.name === idOrName)
    );
  }
  return snapshots.find(
    (snapshot) =>
      (id === undefined || snapshot.id === id) && (name === undefined || snapshot.name === name),
  );
}

/** The file, with a header made from the snapshot's table entry. */
class SnapshotFile implements ImageFile {
  readonly path: string;
  readonly fd: number;
  readonly readOnly = true;
  readonly isBlockDevice: boolean;
  readonly #file: ImageFile;
  readonly #snapshot: Snapshot;

  constructor(file: ImageFile, snapshot: Snapshot) {
    this.path = file.path;
    this.fd = file.fd;
    this.isBlockDevice = file.isBlockDevice;
    this.#file = file;
    this.#snapshot = snapshot;
  }

  sizeBytes(): number {
    return this.#file.sizeBytes();
  }

  readSync(offset: number, target: Uint8Array): void {
    this.#file.readSync(offset, target);
    if (offset === 0 && target.length > HeaderField.l1_table_offset + 8) this.#patch(target);
  }

  read(offset: number, target: Uint8Array): Promise<void> {
    return this.#file.read(offset, target);
  }

  nextDataSync(offset: number): number {
    return this.#file.nextDataSync(offset);
  }

  nextHoleSync(offset: number): number {
    return this.#file.nextHoleSync(offset);
  }

  writeSync(): void {
    this.#refuse();
  }

  async write(): Promise<void> {
    this.#refuse();
  }

  writeZeroesSync(): void {
    this.#refuse();
  }

  discardSync(): void {
    this.#refuse();
  }

  allocateSync(): void {
    this.#refuse();
  }

  expectWritesSync(): void {
    this.#refuse();
  }

  truncateSync(): void {
    this.#refuse();
  }

  datasyncSync(): void {}

  async datasync(): Promise<void> {}

  close(): void {}

  #patch(header: Uint8Array): void {
    const { diskBytes, l1Entries, l1TableOffset } = this.#snapshot;
    const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
    if (diskBytes !== undefined) view.setBigUint64(HeaderField.size, BigInt(diskBytes));
    view.setUint32(HeaderField.l1_size, l1Entries);
    view.setBigUint64(HeaderField.l1_table_offset, BigInt(l1TableOffset));
  }

  #refuse(): never {
    throw new TsvmError('wrong-state', `a snapshot of ${this.path} is never written`);
  }
}
