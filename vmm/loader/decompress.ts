/**
 * Unpacks kernel payloads on the host. Node unpacks gzip and zstd, the system's tools the other
 * formats. If a tool is missing, the kernel can still unpack itself.
 */
import { writeSync } from 'node:fs';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { TsvmError } from '../errors.ts';
import { startUnpackingTool, type ToolFormat } from '../host/unpacking-tool.ts';
import type { BootImage } from './boot-file.ts';
import { type CompressionFormat, UNPACKED_SIZE_MAX } from './bzimage.ts';

export interface CompressedRange {
  readonly format: CompressionFormat;
  readonly image: BootImage;
  readonly fileOffset: number;
  readonly sizeBytes: number;
  /**
   * Expected length of the output in bytes, at most {@link UNPACKED_SIZE_MAX}, which is the limit when
   * it is not known. Nothing beyond it is written.
   */
  readonly unpackedSizeBytes: number | undefined;
  /** Aborts the unpacking. */
  readonly signal?: AbortSignal | undefined;
}

const INPUT_CHUNK_SIZE = 2 ** 18;

/** The output file cannot be written, for example because the disk is full. */
export class OutputError extends Error {
  constructor(cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.name = 'OutputError';
  }
}

/**
 * Unpacks a range of a file to the start of another file.
 * @throws TsvmError `invalid-kernel` when the payload is damaged or its length is wrong,
 *   `cannot-decompress` when the tool for its format is missing, or `file-unreadable`; the
 *   signal's reason when aborted
 * @throws OutputError when `outputFd` cannot be written
 */
export async function decompress(range: CompressedRange, outputFd: number): Promise<void> {
  const input = readRange(range);
  const output = new BoundedFileWriter(outputFd, range.unpackedSizeBytes ?? UNPACKED_SIZE_MAX);
  const { format, signal } = range;
  const options = signal === undefined ? {} : { signal };
  try {
    if (format === 'gzip') await pipeline(input, createGunzip(), output, options);
    else if (format === 'zstd') await pipeline(input, createZstdDecompress(), output, options);
    else await runTool(format, input, output, options);
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof OutputError || error instanceof TsvmError) throw error;
    throw damaged(range, error instanceof Error ? error.message : String(error), error);
  }
  const { unpackedSizeBytes = output.written } = range;
  if (output.written !== unpackedSizeBytes) {
    throw damaged(range, `it unpacks to ${output.written} bytes, not ${unpackedSizeBytes}`);
  }
}

/** Synchronous, like the writes below, so that no access outlives the caller's descriptors. */
function* readRange({ image, fileOffset, sizeBytes }: CompressedRange): Generator<Uint8Array> {
  for (let done = 0; done < sizeBytes; done += INPUT_CHUNK_SIZE) {
    const chunk = new Uint8Array(Math.min(INPUT_CHUNK_SIZE, sizeBytes - done));
    image.readInto(chunk, fileOffset + done);
    yield chunk;
  }
}

async function runTool(
  format: ToolFormat,
  input: Generator<Uint8Array>,
  output: Writable,
  options: { readonly signal?: AbortSignal },
): Promise<void> {
  // Zeroes may follow, and a kernel has one stream.
  const more = format === 'xz' ? ['--single-stream'] : [];
  const tool = await startUnpackingTool(format, 'a kernel', more);
  const fed = pipeline(input, tool.stdin).catch((error: unknown) => error);
  try {
    await pipeline(tool.stdout, output, options);
  } catch (error) {
    await tool.kill();
    throw error;
  }
  const ended = tool.finished();
  ended.catch(() => {});
  const feedError = await fed;
  if (feedError instanceof TsvmError) throw feedError;
  await ended;
}

/** Writes a file from its start and fails at the first byte beyond the limit. */
class BoundedFileWriter extends Writable {
  readonly #fd: number;
  readonly #limitBytes: number;
  /** Bytes written so far. */
  written = 0;

  constructor(fd: number, limitBytes: number) {
    super();
    this.#fd = fd;
    this.#limitBytes = limitBytes;
  }

  override _write(chunk: Buffer, _encoding: string, callback: (error?: Error) => void): void {
    if (this.written + chunk.byteLength > this.#limitBytes) {
      callback(new Error(`it unpacks to more than the ${this.#limitBytes} bytes allowed`));
      return;
    }
    try {
      for (let done = 0; done < chunk.byteLength; ) {
        const count = writeSync(this.#fd, chunk, done, chunk.byteLength - done, this.written);
        done += count;
        this.written += count;
      }
      callback();
    } catch (error) {
      callback(new OutputError(error));
    }
  }
}

function damaged(range: CompressedRange, problem: string, cause?: unknown): TsvmError {
  const message = `${range.image.name}: ${range.format} payload: ${problem}`;
  return new TsvmError('invalid-kernel', message, { cause });
}
