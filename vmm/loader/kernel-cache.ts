/**
 * Kernels unpacked from bzImages, kept in the user's cache so that a boot maps a file, whose pages
 * all VMs share.
 *
 * ```
 * <directory>/<SHA-256 of the bzImage>.elf    an unpacked kernel
 * <directory>/by-file/<identity>              symbolic link to it; see `fileIdentity`
 * ```
 * A boot finds its kernel by the link with one open and hashes nothing. Entries only ever appear
 * whole, by rename, so processes share the directory without a lock. Whatever is wrong with an
 * entry, it is made anew; whatever is wrong with the directory, a temporary file takes its place.
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TsvmError } from '../errors.ts';
import { AtomicFile } from '../host/atomic-file.ts';
import type { BzImagePayload, CompressionFormat } from './bzimage.ts';
import { decompress, OutputError } from './decompress.ts';
import { type ElfImage, parseElf } from './elf.ts';
import { ImageFile } from './image-file.ts';

export interface UnpackedKernel {
  /** The kernel's ELF file. The caller closes it. */
  readonly image: ImageFile;
  readonly elf: ElfImage;
  /** Set when the kernel could not be kept in the cache: a sentence that says why. */
  readonly warning?: string;
}

export interface UnpackOptions {
  /** The cache's directory, made when it is not there. Without one no kernel is kept. */
  readonly cacheDirectory?: string;
  /** Breaks off the unpacking. */
  readonly signal?: AbortSignal;
}

export interface CompressedPayload extends BzImagePayload {
  readonly format: CompressionFormat;
}

/** Entries kept; a new one beyond them displaces the oldest. One is some 20 to 60 MB. */
export const KERNELS_MAX = 16;

const HASH_CHUNK_SIZE = 2 ** 20;

/** Where to unpack when the cache cannot be used. The second is memory, but nearly always there. */
const fallbackDirectories = () => [tmpdir(), '/dev/shm'];

/**
 * The unpacked kernel of a bzImage, from the cache or unpacked now.
 * @throws TsvmError `invalid-kernel` when the payload is not what the header says, or
 *   `cannot-decompress` when a tool is missing or no directory has room for the kernel
 */
export async function openUnpackedKernel(
  bzImage: ImageFile,
  payload: CompressedPayload,
  { cacheDirectory: directory, signal }: UnpackOptions,
): Promise<UnpackedKernel> {
  if (directory === undefined) {
    const kernel = await unpackOutsideCache(bzImage, payload, signal);
    const warning = 'there is no folder to keep unpacked kernels in: set HOME or XDG_CACHE_HOME';
    return { ...kernel, warning };
  }
  const link = join(directory, 'by-file', fileIdentity(bzImage));
  const known = openEntry(link, payload.unpackedSizeBytes);
  if (known) return known;

  const entryName = `${hashFile(bzImage)}.elf`;
  const entry = join(directory, entryName);
  let kernel = openEntry(entry, payload.unpackedSizeBytes);
  try {
    mkdirSync(join(directory, 'by-file'), { recursive: true, mode: 0o700 });
    if (!kernel) {
      kernel = await unpack(bzImage, { ...payload, signal }, directory, entry);
      removeOldEntries(directory);
    }
    replaceLink(link, join('..', entryName));
    return kernel;
  } catch (error) {
    if (!isFileSystemError(error)) throw error;
    const warning = `the kernel cache ${directory} cannot be written: ${error.message}`;
    kernel ??= await unpackOutsideCache(bzImage, payload, signal);
    return { ...kernel, warning };
  }
}

/**
 * What tells one state of a file from another without reading it. ctime cannot be set back, so a
 * file that was written to is never taken for what it was.
 */
function fileIdentity(file: ImageFile): string {
  const { dev, ino, size, mtimeNs, ctimeNs } = file.stat;
  return `${dev}-${ino}-${size}-${mtimeNs}-${ctimeNs}`;
}

function hashFile(file: ImageFile): string {
  const hash = createHash('sha256');
  const chunk = new Uint8Array(HASH_CHUNK_SIZE);
  for (let offset = 0; offset < file.sizeBytes; offset += HASH_CHUNK_SIZE) {
    const part = chunk.subarray(0, Math.min(HASH_CHUNK_SIZE, file.sizeBytes - offset));
    file.readInto(part, offset);
    hash.update(part);
  }
  return hash.digest('hex');
}

/** Opens an entry. A damaged one counts as absent. */
function openEntry(path: string, sizeBytes: number): UnpackedKernel | undefined {
  let image: ImageFile;
  try {
    image = new ImageFile(path);
  } catch {
    return undefined;
  }
  try {
    if (image.sizeBytes === sizeBytes) return { image, elf: parseElf(image) };
  } catch (error) {
    if (!(error instanceof TsvmError)) throw error;
  }
  image.close();
  return undefined;
}

/** Unpacks into a new file, which becomes `entry`, or is left without a name when there is none. */
async function unpack(
  bzImage: ImageFile,
  payload: CompressedPayload & { readonly signal: AbortSignal | undefined },
  directory: string,
  entry?: string,
): Promise<UnpackedKernel> {
  using output = new AtomicFile(entry ?? join(directory, 'unpacked'), { durable: true });
  await decompress({ ...payload, image: bzImage }, output.fd);
  const image = new ImageFile(output.draftPath, `${bzImage.name} (unpacked)`);
  try {
    const elf = parseElf(image);
    if (entry !== undefined) output.commit();
    return { image, elf };
  } catch (error) {
    image.close();
    throw error;
  }
}

async function unpackOutsideCache(
  bzImage: ImageFile,
  payload: CompressedPayload,
  signal: AbortSignal | undefined,
): Promise<UnpackedKernel> {
  let cause: unknown;
  for (const directory of fallbackDirectories()) {
    try {
      return await unpack(bzImage, { ...payload, signal }, directory);
    } catch (error) {
      if (!isFileSystemError(error)) throw error;
      cause = error;
    }
  }
  throw new TsvmError(
    'cannot-decompress',
    `no directory has room for the unpacked kernel, ${payload.unpackedSizeBytes} bytes: ` +
      `free some in ${fallbackDirectories().join(' or ')}`,
    { cause },
  );
}

function replaceLink(link: string, target: string): void {
  const temporary = `${link}${randomBytes(8).toString('hex')}`;
  symlinkSync(target, temporary);
  renameSync(temporary, link);
}

/** Keeps the newest entries; removes the others, and links to entries that are gone. */
function removeOldEntries(directory: string): void {
  const aged = readdirSync(directory, { withFileTypes: true })
    .filter((file) => file.isFile() && file.name.endsWith('.elf'))
    .map(({ name }) => {
      const path = join(directory, name);
      const modifiedMs = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
      return { path, modifiedMs };
    })
    .sort((a, b) => b.modifiedMs - a.modifiedMs);
  for (const { path } of aged.slice(KERNELS_MAX)) rmSync(path, { force: true });

  const links = join(directory, 'by-file');
  for (const name of readdirSync(links)) {
    const path = join(links, name);
    if (!existsSync(path)) rmSync(path, { force: true });
  }
}

function isFileSystemError(error: unknown): error is Error {
  return error instanceof OutputError || (error instanceof Error && 'syscall' in error);
}
