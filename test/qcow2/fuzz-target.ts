/** Runs every operation on an image. Only a `TsvmError` may be thrown. */
import { checkImage } from '../../vmm/backends/disk/image/qcow2/check/check.ts';
import { isSound } from '../../vmm/backends/disk/image/qcow2/check/check-report.ts';
import { repairImage } from '../../vmm/backends/disk/image/qcow2/check/repair.ts';
import type { Qcow2Image } from '../../vmm/backends/disk/image/qcow2/qcow2-image.ts';
import {
  applySnapshot,
  createSnapshot,
  deleteSnapshot,
  listSnapshots,
} from '../../vmm/backends/disk/image/qcow2/snapshot/snapshots.ts';
import { TsvmError } from '../../vmm/errors.ts';
import { MemoryImageFile } from '../support/memory-image-file.ts';
import type { Random } from '../support/random.ts';
import { openInMemory } from './memory-images.ts';

/** A hostile image may require much space; the host's is bounded. */
const FILE_BYTES_MAX = 2 ** 28;
const RUNS_MAX = 500;
const READ_BYTES_MAX = 2 ** 20;

/** A file on a host with a full file system. */
class BoundedFile extends MemoryImageFile {
  override writeSync(offset: number, data: Uint8Array): void {
    this.#limit(offset + data.length);
    super.writeSync(offset, data);
  }

  override writeZeroesSync(offset: number, length: number, deallocate: boolean): void {
    this.#limit(offset + length);
    super.writeZeroesSync(offset, length, deallocate);
  }

  override allocateSync(offset: number, length: number): void {
    this.#limit(offset + length);
    super.allocateSync(offset, length);
  }

  override truncateSync(sizeBytes: number): void {
    this.#limit(sizeBytes);
    super.truncateSync(sizeBytes);
  }

  #limit(end: number): void {
    if (!Number.isSafeInteger(end) || end < 0) throw new RangeError(`a file of ${end} bytes`);
    if (end > FILE_BYTES_MAX) throw new TsvmError('disk-io', 'the file system is full');
  }
}

/**
 * @param contents the image, and its data file if it has one
 * @throws any error that is not a `TsvmError`
 */
export async function exercise(contents: readonly Uint8Array[], random: Random): Promise<void> {
  await withImage(contents, true, async (image) => {
    readEverything(image);
    await image.read(0, new Uint8Array(Math.min(image.sizeBytes, READ_BYTES_MAX)));
  });
  await withImage(contents, false, (image) => change(image, random));
  await withImage(contents, false, async (image) => {
    changeSnapshots(image);
    await change(image, random);
  });
  await withImage(contents, false, (image) => resize(image));
  checkAndRepair(contents);
}

async function withImage(
  contents: readonly Uint8Array[],
  readOnly: boolean,
  act: (image: Qcow2Image) => Promise<void> | void,
): Promise<void> {
  const files = contents.map((content) => new BoundedFile(content));
  const data = new Uint8Array();
  await tolerate(async () => {
    const image = openInMemory(files, data, readOnly);
    await tolerate(() => act(image));
    await tolerate(() => image.flush());
    image.close();
  });
}

function readEverything(image: Qcow2Image): void {
  let runs = 0;
  for (let offset = 0; offset < image.sizeBytes && runs < RUNS_MAX; runs++) {
    let length = image.clusterBytes;
    tolerateSync(() => {
      const run = image.mapSync(offset, image.sizeBytes - offset);
      if (!(run.length > 0)) throw new RangeError(`a run of ${run.length} bytes`);
      length = run.length;
      image.readSync(offset, new Uint8Array(Math.min(length, READ_BYTES_MAX)));
    });
    offset += length;
  }
  tolerateSync(() => listSnapshots(image));
}

async function change(image: Qcow2Image, random: Random): Promise<void> {
  const { clusterBytes, sizeBytes } = image;
  for (let count = 0; count < 12; count++) {
    const offset = random.below(Math.max(1, Math.min(sizeBytes, 64 * clusterBytes)));
    const length = Math.min(random.between(1, 2 * clusterBytes), sizeBytes - offset);
    await tolerate(async () => {
      switch (random.below(7)) {
        case 0:
          return image.discardSync(offset, length);
        case 1:
          return image.writeZeroesSync(offset, length, random.chance(0.5));
        case 2:
          return image.prepareWriteSync(offset, length);
        case 3:
          return image.flushSync();
        case 4:
          return image.write(offset, new Uint8Array(length).fill(1));
        default:
          return image.writeSync(offset, new Uint8Array(length).fill(2));
      }
    });
  }
}

function changeSnapshots(image: Qcow2Image): void {
  tolerateSync(() => createSnapshot(image, 'fuzz'));
  tolerateSync(() => {
    const [first] = listSnapshots(image);
    if (first === undefined) return;
    tolerateSync(() => applySnapshot(image, first.id));
    tolerateSync(() => deleteSnapshot(image, first.id));
  });
}

function resize(image: Qcow2Image): void {
  const { clusterBytes, sizeBytes } = image;
  tolerateSync(() => image.resizeSync(Math.ceil(sizeBytes / 1024) * 512));
  tolerateSync(() => image.resizeSync(sizeBytes + 64 * clusterBytes));
}

function checkAndRepair(contents: readonly Uint8Array[]): void {
  const file = new BoundedFile(contents[0]);
  tolerateSync(() => checkImage(file));
  tolerateSync(() => repairImage(file, 'leaks'));
  tolerateSync(() => {
    if (!isSound(repairImage(file, 'all'))) return;
    const { corruptions, checkErrors, problems } = checkImage(file);
    if (corruptions + checkErrors > 0) {
      throw new Error(`repaired, and then the check finds: ${problems.slice(0, 3).join('; ')}`);
    }
  });
}

function tolerateSync(act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof TsvmError)) throw error;
  }
}

async function tolerate(act: () => Promise<void> | void): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof TsvmError)) throw error;
  }
}
