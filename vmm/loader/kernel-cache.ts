/**
 * A cache of kernels unpacked from bzImages and from compressed ELF files. A boot maps the cached file, so that all VMs share its
 * pages.
 *
 * ```
 * <directory>/<SHA-256 of the packed file>.elf    an unpacked kernel
 * <directory>/by-file/<identity>                  symbolic link to it; see `BootImage.identity`
 * ```
 * A boot finds its kernel through the link, without hashing the bzImage. Entries appear complete, by
 * rename, so processes share the directory without a lock. A damaged entry is made again; if the
 * directory cannot be used, the kernel is unpacked to a temporary file.
 */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readdirSync, renameSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TsvmError } from '../errors.ts';
import { AtomicFile } from '../host/atomic-file.ts';
import { makeFolders } from '../host/make-folders.ts';
import { BootFile, type BootImage } from './boot-file.ts';
import { type CompressedRange, decompress, OutputError } from './decompress.ts';
import { type ElfImage, isElf, parseElf } from './elf.ts';
import { notAKernel } from './file-kind.ts';

export interface UnpackedKernel {
  /** The kernel's ELF file. The caller closes it. */
  readonly image: BootImage;
  readonly elf: ElfImage;
  /** Why the kernel could not be cached; absent when it was. */
  readonly warning?: string;
}

export interface UnpackOptions {
  /** The cache directory, created if missing. Absent: nothing is cached. */
  readonly cacheDirectory?: string;
  /** Aborts the unpacking. */
  readonly signal?: AbortSignal;
}

/** Where the kernel is in its file. */
export type CompressedPayload = Omit<CompressedRange, 'image' | 'signal'>;

/** Maximum number of entries, of about 20 to 60 MB each; the oldest are removed. */
export const KERNELS_MAX = 16;

const HASH_CHUNK_SIZE = 2 ** 20;

/** Where to unpack when the cache cannot be used. /dev/shm takes memory, but nearly always exists. */
const fallbackDirectories = () => [tmpdir(), '/dev/shm'];

/**
 * Opens the unpacked kernel of a bzImage or of a compressed ELF file. Unpacks it if it is not cached.
 * @throws TsvmError `invalid-kernel` when the payload does not match the header, or
 *   `cannot-decompress` when a tool is missing or no directory has room for the kernel
 */
export async function openUnpackedKernel(
  bzImage: BootImage,
  payload: CompressedPayload,
  { cacheDirectory: directory, signal }: UnpackOptions,
): Promise<UnpackedKernel> {
  if (directory === undefined) {
    const kernel = await unpackOutsideCache(bzImage, payload, signal);
    const warning = 'no folder for the kernel cache: set HOME or XDG_CACHE_HOME';
    return { ...kernel, warning };
  }
  const { identity } = bzImage;
  const link = identity === undefined ? undefined : join(directory, 'by-file', identity);
  const known = link && openEntry(link, payload.unpackedSizeBytes);
  if (known) return known;

  const entryName = `${hashFile(bzImage)}.elf`;
  const entry = join(directory, entryName);
  let kernel = openEntry(entry, payload.unpackedSizeBytes);
  try {
    makeFolders(join(directory, 'by-file'), 0o700);
    if (!kernel) {
      kernel = await unpack(bzImage, { ...payload, signal }, directory, entry);
      removeOldEntries(directory);
    }
    if (link !== undefined) replaceLink(link, join('..', entryName));
    return kernel;
  } catch (error) {
    if (!isFileSystemError(error)) throw error;
    const warning = `the kernel cache ${directory} cannot be written: ${error.message}`;
    kernel ??= await unpackOutsideCache(bzImage, payload, signal);
    return { ...kernel, warning };
  }
}

function hashFile(file: BootImage): string {
  const hash = createHash('sha256');
  const chunk = new Uint8Array(HASH_CHUNK_SIZE);
  for (let offset = 0; offset < file.sizeBytes; offset += HASH_CHUNK_SIZE) {
    const part = chunk.subarray(0, Math.min(HASH_CHUNK_SIZE, file.sizeBytes - offset));
    file.readInto(part, offset);
    hash.update(part);
  }
  return hash.digest('hex');
}

/** Opens a cache entry; undefined when it is missing or damaged. */
function openEntry(path: string, sizeBytes: number | undefined): UnpackedKernel | undefined {
  let image: BootFile;
  try {
    image = new BootFile(path);
  } catch {
    return undefined;
  }
  try {
    if (sizeBytes === undefined || image.sizeBytes === sizeBytes) {
      return { image, elf: parseElf(image) };
    }
  } catch (error) {
    if (!(error instanceof TsvmError)) throw error;
  }
  image.close();
  return undefined;
}

/** Unpacks into a new file, which is renamed to `entry`, or unlinked when no entry is given. */
async function unpack(
  bzImage: BootImage,
  payload: CompressedPayload & { readonly signal: AbortSignal | undefined },
  directory: string,
  entry?: string,
): Promise<UnpackedKernel> {
  using output = new AtomicFile(entry ?? join(directory, 'unpacked'), { durable: true });
  await decompress({ ...payload, image: bzImage }, output.fd);
  const image = new BootFile(output.draftPath, `${bzImage.name} (unpacked)`);
  try {
    if (!isElf(image)) throw new TsvmError('invalid-kernel', notAKernel(image));
    const elf = parseElf(image);
    if (entry !== undefined) output.commit();
    return { image, elf };
  } catch (error) {
    image.close();
    throw error;
  }
}

async function unpackOutsideCache(
  bzImage: BootImage,
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
    `no space for the unpacked kernel${sizeText(payload)}: ` +
      `free some in ${fallbackDirectories().join(' or ')}`,
    { cause },
  );
}

function sizeText({ unpackedSizeBytes: size }: CompressedPayload): string {
  return size === undefined ? '' : ` of ${size} bytes`;
}

function replaceLink(link: string, target: string): void {
  const temporary = `${link}${randomBytes(8).toString('hex')}`;
  symlinkSync(target, temporary);
  renameSync(temporary, link);
}

/** Removes the oldest entries beyond the limit, and dangling links. */
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
