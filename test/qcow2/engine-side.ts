/** Runs operations with our engine on its copy of the image; every read is compared. */
import type { DiskImage } from '../../vmm/backends/disk/image/image.ts';
import { deflateClusterSync } from '../../vmm/backends/disk/image/qcow2/map/compression.ts';
import { Qcow2Image } from '../../vmm/backends/disk/image/qcow2/qcow2-image.ts';
import {
  applySnapshot,
  createSnapshot,
  deleteSnapshot,
} from '../../vmm/backends/disk/image/qcow2/snapshot/snapshots.ts';
import type { DiskModel } from './disk-model.ts';
import { expectBytes, Mismatch } from './mismatch.ts';
import type { Operation, PatternWrite } from './operations.ts';
import type { Patterns } from './patterns.ts';

/** Size of reads of disks that are too large to be read completely. */
const READ_BYTES = 2 ** 20;
const WHOLE_READ_BYTES_MAX = 32 * READ_BYTES;

/**
 * Does an operation with the engine.
 * @param image a qcow2 image
 * @param model its content before the operation
 */
export async function applyToEngine(
  image: DiskImage,
  operation: Operation,
  model: DiskModel,
  patterns: Patterns,
): Promise<void> {
  if (!(image instanceof Qcow2Image)) throw new Error('not a qcow2 image');
  switch (operation.kind) {
    case 'read':
      return expectContent(image, model, operation.offset, operation.length);
    case 'write':
      return writePattern(image, operation, operation.how, model, patterns);
    case 'burst':
      await Promise.all(
        operation.writes.map((write) => writePattern(image, write, 'async', model, patterns)),
      );
      return;
    case 'compressed':
      return writeCompressed(image, operation, patterns);
    case 'zeroes':
      image.writeZeroesSync(operation.offset, operation.length, operation.mayUnmap);
      return;
    case 'discard':
      image.discardSync(operation.offset, operation.length);
      return;
    case 'flush':
      if (operation.how === 'sync') image.flushSync();
      else await image.flush();
      if (image.metadataDirty) throw new Mismatch('metadata is dirty after a flush');
      return;
    case 'create-snapshot':
      createSnapshot(image, operation.name);
      return;
    case 'apply-snapshot':
      applySnapshot(image, operation.name);
      return;
    case 'delete-snapshot':
      deleteSnapshot(image, operation.name);
      return;
    case 'resize':
      image.resizeSync(operation.sizeBytes);
      return;
    case 'reopen':
      return;
  }
}

/** @throws Mismatch unless the disk's size and content are the model's */
export async function expectWholeContent(image: DiskImage, model: DiskModel): Promise<void> {
  if (image.sizeBytes !== model.sizeBytes) {
    throw new Mismatch(`the size is ${image.sizeBytes}, should be ${model.sizeBytes}`);
  }
  if (model.sizeBytes > WHOLE_READ_BYTES_MAX) {
    for (const { offset, length } of model.usedRanges()) {
      await expectContent(image, model, offset, length);
    }
    return;
  }
  for (let offset = 0; offset < model.sizeBytes; offset += READ_BYTES) {
    await expectContent(image, model, offset, Math.min(READ_BYTES, model.sizeBytes - offset));
  }
}

async function writePattern(
  image: Qcow2Image,
  { offset, length, pattern }: PatternWrite,
  how: 'sync' | 'async' | 'prepared',
  model: DiskModel,
  patterns: Patterns,
): Promise<void> {
  const data = patterns.bytes(pattern, length);
  switch (how) {
    case 'sync':
      return image.writeSync(offset, data);
    case 'async':
      return image.write(offset, data);
    case 'prepared':
      image.prepareWriteSync(offset, length);
      expectWritable(image, offset, length);
      await expectSurroundings(image, model, offset, length);
      return image.writeSync(offset, data);
  }
}

function expectWritable(image: Qcow2Image, offset: number, length: number): void {
  for (let done = 0; done < length; ) {
    const run = image.mapSync(offset + done, length - done);
    if (run.kind !== 'data' || !run.writable || run.file === undefined) {
      throw new Mismatch(`byte ${offset + done} is not writable in place after prepareWriteSync`);
    }
    done += run.length;
  }
}

/** Asserts that the rest of a prepared range's first and last cluster is unchanged. */
async function expectSurroundings(
  image: DiskImage,
  model: DiskModel,
  offset: number,
  length: number,
): Promise<void> {
  const { clusterBytes } = image;
  const start = offset - (offset % clusterBytes);
  const end = offset + length;
  const clusterEnd = Math.min(Math.ceil(end / clusterBytes) * clusterBytes, model.sizeBytes);
  await expectContent(image, model, start, offset - start);
  await expectContent(image, model, end, clusterEnd - end);
}

/** Each cluster starts with the beginning of the pattern, as with `qemu-io write -c -s`. */
function writeCompressed(image: Qcow2Image, write: PatternWrite, patterns: Patterns): void {
  const { clusterBytes } = image;
  for (let done = 0; done < write.length; done += clusterBytes) {
    const plain = patterns.bytes(write.pattern, Math.min(clusterBytes, write.length - done));
    const padded = new Uint8Array(clusterBytes);
    padded.set(plain);
    const deflated = deflateClusterSync(image.header.compressionType, padded);
    image.writeCompressed(write.offset + done, plain, deflated);
  }
}

/** Half of the reads are asynchronous. */
async function expectContent(
  image: DiskImage,
  model: DiskModel,
  offset: number,
  length: number,
): Promise<void> {
  if (length === 0) return;
  const actual = new Uint8Array(length).fill(0xee);
  if ((offset ^ length) & 512) image.readSync(offset, actual);
  else await image.read(offset, actual);
  expectBytes(actual, model.read(offset, length), offset, 'our engine reads');
}
