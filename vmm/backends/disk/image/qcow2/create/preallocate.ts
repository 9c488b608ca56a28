import { TsvmError } from '../../../../../errors.ts';
import { TimeSlices } from '../../../../../util/event-loop.ts';
import type { ImageFile } from '../../../file/image-file.ts';
import type { ImageRun } from '../../image.ts';
import { writeHeader } from '../header/header-encode.ts';
import { Qcow2Image } from '../qcow2-image.ts';
import { createQcow2 } from './create.ts';
import { type CreateOptions, checkCreateOptions, type Preallocation } from './create-options.ts';

/** Size of one write or reservation. */
const STEP_BYTES = 2 ** 20;

/**
 * {@link createQcow2} with preallocation. For a raw external data file tables are always
 * preallocated, as in QEMU.
 * @param signal ends it early: the image is then consistent, with less preallocated
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
  // Lazy refcounts would gain nothing here: they are written once.
  createQcow2(file, { ...options, lazyRefcounts: false });
  const dataFile = options.dataFile?.file;
  // Past a file's end everything is zero and needs no writing.
  if (dataFile?.isBlockDevice === false) dataFile.truncateSync(0);
  // The image is not closed, since the files are the caller's.
  const image = Qcow2Image.open(file, { readOnly: false, backing: undefined, dataFile });
  await preallocate(image, preallocation, 0, signal);
  await image.flush();
  if (options.lazyRefcounts !== true) return;
  writeHeader(file, { ...image.header, lazyRefcounts: true });
  await file.datasync();
}

/**
 * Preallocates a disk from `offset` to its end: a new image, or what a resize added. It reads as
 * zeroes before and after.
 * @param signal ends it between two steps: the image is then consistent, with less preallocated
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
    // The file's size shows that the clusters are in it.
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
    // On a full disk there is no room for metadata either, which shrinking the image would need.
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
