/** Archives in formats that `docker import` and `docker load` take, but layers do not have. */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { TsvmError } from '../../errors.ts';
import { startUnpackingTool } from '../../host/unpacking-tool.ts';
import { readStart } from './stream-start.ts';

/** Bytes that tell the format. */
const MAGIC_BYTES = 4;
/** The .xz File Format, 2.1.1.1; bzip2's "BZh". */
const XZ_MAGIC = 0xfd377a58;
const BZIP2_MAGIC = 0x425a68;

type PackedFormat = 'xz' | 'bzip2';

/** @param start its first {@link MAGIC_BYTES} bytes, if it has as many */
export function packedFormat(start: Uint8Array): PackedFormat | undefined {
  if (start.length < MAGIC_BYTES) return undefined;
  const magic = new DataView(start.buffer, start.byteOffset).getUint32(0);
  if (magic === XZ_MAGIC) return 'xz';
  return magic >>> 8 === BZIP2_MAGIC ? 'bzip2' : undefined;
}

/**
 * Unpacks xz and bzip2; other bytes pass unchanged.
 * @throws TsvmError `cannot-decompress` when the tool is missing, `invalid-image`; and what the input
 * throws
 */
export async function* unpacked(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const { start, all } = await readStart(input, MAGIC_BYTES);
  const format = packedFormat(start);
  if (format === undefined) yield* all;
  else yield* throughTool(format, all);
}

async function* throughTool(
  format: PackedFormat,
  input: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const tool = await startUnpackingTool(format, 'an archive');
  let inputError: unknown;
  const watched = Readable.from(input).on('error', (error) => {
    inputError = error;
  });
  // A tool that fails closes its input, and says why.
  const fed = pipeline(watched, tool.stdin).catch(() => {});
  try {
    yield* tool.stdout;
    await fed;
    if (inputError !== undefined) throw inputError;
    await tool.finished().catch((cause: Error) => {
      const text = `the archive is not a valid ${format} stream: ${cause.message}`;
      throw new TsvmError('invalid-image', text, { cause });
    });
  } finally {
    await tool.kill();
  }
}
