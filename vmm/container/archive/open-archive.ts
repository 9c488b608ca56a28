import { closeSync, createReadStream, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { addAbortSignal, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { TsvmError } from '../../errors.ts';
import { fsPath } from '../../util/byte-names.ts';
import { hasCode } from '../../util/error-code.ts';
import { formatSize } from '../../util/size.ts';
import { decodeZstd, isZstd } from '../layer/decode-zstd.ts';
import type { StoreFolders } from '../store/folders.ts';
import { NewContent } from '../store/new-content.ts';
import { storeFailure } from '../store/store-failure.ts';
import { type ArchiveSource, FolderSource, TarSource } from './archive-source.ts';
import { readStart } from './stream-start.ts';
import { packedFormat, unpacked } from './unpack.ts';

/** Bytes, unpacked. */
const ARCHIVE_BYTES_MAX = 2 ** 40;

/**
 * Opens the source of images: a plain or compressed file, a folder, or a stream. Sources without
 * random access are first written to an unnamed file in the store.
 */
export async function openArchive(
  input: string | Readable,
  folders: StoreFolders,
  signal?: AbortSignal,
): Promise<ArchiveSource> {
  if (typeof input !== 'string') return await spooled(input, folders, signal);
  let fd: number;
  try {
    if (statSync(fsPath(input)).isDirectory()) return new FolderSource(input);
    fd = openSync(fsPath(input), 'r');
  } catch (error) {
    const reason = hasCode(error, 'ENOENT');
    const text = reason ? 'no such file or directory' : String(error);
    throw new TsvmError('file-unreadable', `open ${input}: ${text}`, { cause: error });
  }
  if (fstatSync(fd).isFile()) {
    const start = Buffer.alloc(4);
    readSync(fd, start, 0, 4, 0);
    const plain = compressionOf(start) === 'none' && packedFormat(start) === undefined;
    if (plain) return new TarSource(fd);
  }
  closeSync(fd);
  return await spooled(
    createReadStream(fsPath(input), { highWaterMark: 2 ** 20 }),
    folders,
    signal,
  );
}

function compressionOf(start: Uint8Array): 'gzip' | 'zstd' | 'none' {
  if (start[0] === 0x1f && start[1] === 0x8b) return 'gzip';
  return isZstd(start) ? 'zstd' : 'none';
}

/** Decompresses a stream into an unlinked file. */
async function spooled(
  input: Readable,
  folders: StoreFolders,
  signal: AbortSignal | undefined,
): Promise<TarSource> {
  // Otherwise the wait for a silent pipe could not be aborted.
  if (signal !== undefined) addAbortSignal(signal, input);
  const spool = await NewContent.create(folders.temporary);
  try {
    const plain = await decompressed(unpacked(input));
    for await (const chunk of plain) {
      await spool.append(chunk);
      if (spool.sizeBytes > ARCHIVE_BYTES_MAX) {
        throw new TsvmError(
          'invalid-image',
          `the archive unpacks to more than ${formatSize(ARCHIVE_BYTES_MAX)}`,
        );
      }
    }
    await spool.flush();
    return new TarSource(openSync(spool.path, 'r'));
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    const isDecoders = error instanceof RangeError || (error instanceof Error && 'errno' in error);
    if (isDecoders && !(error instanceof Error && 'syscall' in error)) {
      throw new TsvmError('invalid-image', 'the archive is not a valid compressed stream', {
        cause: error,
      });
    }
    throw storeFailure(folders.root, error);
  } finally {
    await spool.discard();
  }
}

async function decompressed(input: AsyncIterable<Uint8Array>): Promise<AsyncIterable<Uint8Array>> {
  const { start, all } = await readStart(input, 4);
  switch (compressionOf(start)) {
    case 'none':
      return all;
    case 'zstd':
      return decodeZstd(all);
    case 'gzip': {
      const gunzip = createGunzip({ chunkSize: 512 * 1024 });
      // Whoever reads it sees the failure too.
      pipeline(all, gunzip).catch((error: Error) => gunzip.destroy(error));
      return gunzip;
    }
  }
}
