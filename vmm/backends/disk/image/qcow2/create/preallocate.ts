import { TsvmError } from '../../../../../errors.ts';
import { TimeSlices } from '../../../../../util/event-loop.ts';
import type { ImageFile } from '../../../file/image-file.ts';
import type { ImageRun } from '../../image.ts';
import { writeHeader } from '../header/header-encode.ts';
import { Qcow2Image } from '../qcow2-image.ts';
import { createQcow2 } from './create.ts';
import { type CreateOptions, checkCreateOptions, type Preallocation } from './create-options.ts';

/** What is written, and reserved, at once. */
const STEP_BYTES = 2 ** 20;

/**
 * {@link createQcow2}, and gives the disk its space. An external data file that shows the disk by
 * itself has its tables made whatever was asked for, as QEMU does it.
 * @param signal ends it early: the image is sound then, with less preallocated
 */
export async function createPreallocated(
  file: ImageFile,
  options: CreateOptions,
  asked: Preallocation,
  signal?: AbortSignal,
): Promise<void> {
  const preallocation = asked === 'off' && options.dataFile?.raw === true ? 'metadata' : asked;
  if (preallocation === 'off') return createQcow2(file, options);
  checkCreateOptions(options);
  if (options.backing !== undefined) throw hidesBacking();
  // Nothing is to be lazy about here: refcounts are written once.
  createQcow2(file, { ...options, lazyRefcounts: false });
  const dataFile = options.dataFile?.file;
  // What is behind a file's end is known to be zero, and needs no writing.
  if (dataFile?.isBlockDevice === false) dataFile.truncateSync(0);
  // It is not closed, since the files are the caller's.
  const image = Qcow2Image.open(file, { readOnly: false, backing: undefined, dataFile });
  await preallocate(image, preallocation, 0, signal);
  await image.flush();
  if (options.lazyRefcounts !== true) return;
  writeHeader(file, { ...image.header, lazyRefcounts: true });
  await file.datasync();
}

/**
 * Gives a part of a disk its space in advance, from `offset` to the end: of a new image, or of what
 * a resize added. It reads as zeroes, before and after.
 * @param signal ends it between two steps: the image is sound then, with less preallocated
 * @throws TsvmError `invalid-config` when the image has a backing file, `disk-io`
 */
export async function preallocate(
  image: Qcow2Image,
  preallocation: Preallocation,
  offset = 0,
  signal?: AbortSignal,
): Promise<void> {
  if (preallocation === 'off') return;
  if (image.header.backingName !== undefined) throw hidesBacking();
  const { sizeBytes, tableSpanBytes } = image;
  const slices = new TimeSlices();
  for (let at = offset; at < sizeBytes; ) {
    signal?.throwIfAborted();
    const end = Math.min(sizeBytes, (Math.floor(at / tableSpanBytes) + 1) * tableSpanBytes);
    image.prepareWriteSync(at, end - at);
    await eachRun(image, at, end, (run) => fill(run, preallocation, signal));
    await image.flush();
    await slices.next();
    at = end;
  }
}

async function eachRun(
  image: Qcow2Image,
  start: number,
  end: number,
  act: (run: ImageRun) => Promise<void>,
): Promise<void> {
  for (let at = start; at < end; ) {
    const run = image.mapSync(at, end - at);
    await act(run);
    at += run.length;
  }
}

async function fill(
  { file, fileOffset, length }: ImageRun,
  preallocation: Preallocation,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (file === undefined) return;
  const end = fileOffset + length;
  if (preallocation === 'metadata') {
    // The file's end tells that the clusters are in it.
    if (file.sizeBytes() < end && !file.isBlockDevice) file.truncateSync(end);
    return;
  }
  if (preallocation === 'falloc') {
    file.allocateSync(fileOffset, length);
    return;
  }
  const zeroes = new Uint8Array(Math.min(length, STEP_BYTES));
  try {
    for (let at = fileOffset; at < end; at += zeroes.length) {
      signal?.throwIfAborted();
      await file.write(at, zeroes.subarray(0, Math.min(zeroes.length, end - at)));
    }
  } catch (error) {
    // A full disk has no room for the metadata either, with which the image could be made smaller.
    file.discardSync(fileOffset, length);
    throw error;
  }
}

function hidesBacking(): TsvmError {
  return new TsvmError(
    'invalid-config',
    'an image with a backing file cannot be preallocated: it would hide what is in that',
  );
}
