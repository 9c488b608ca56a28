/**
 * Unpacks kernel payloads on the host. gzip and zstd are Node's own. The other formats are left to
 * the system's tools: they are well kept, they parse hostile bytes in a process of their own, and
 * where one is missing the kernel can still unpack itself.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeSync } from 'node:fs';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { TsvmError } from '../errors.ts';
import type { CompressionFormat } from './bzimage.ts';
import type { ImageFile } from './image-file.ts';

export interface CompressedRange {
  readonly format: CompressionFormat;
  readonly image: ImageFile;
  readonly fileOffset: number;
  readonly sizeBytes: number;
  /** The exact length that must come out; nothing beyond it is ever written. */
  readonly unpackedSizeBytes: number;
  /** Breaks it off. */
  readonly signal?: AbortSignal | undefined;
}

interface Tool {
  readonly command: readonly [string, ...string[]];
  /** The Debian package that has it. */
  readonly debianPackage: string;
}

type ToolFormat = Exclude<CompressionFormat, 'gzip' | 'zstd'>;

/** A kernel's xz dictionary is 128 MiB (scripts/xz_wrap.sh); an image could ask for 4 GiB. */
const XZ_MEMORY_LIMIT = '--memlimit-decompress=256MiB';

const TOOLS: Record<ToolFormat, Tool> = {
  xz: {
    command: ['xz', '-dc', '--format=xz', '--single-stream', XZ_MEMORY_LIMIT],
    debianPackage: 'xz-utils',
  },
  lzma: {
    command: ['xz', '-dc', '--format=lzma', XZ_MEMORY_LIMIT],
    debianPackage: 'xz-utils',
  },
  bzip2: { command: ['bzip2', '-dc'], debianPackage: 'bzip2' },
  lzo: { command: ['lzop', '-dc'], debianPackage: 'lzop' },
  lz4: { command: ['lz4', '-dc'], debianPackage: 'lz4' },
};

const INPUT_CHUNK_SIZE = 2 ** 18;

/** What a failing tool says is kept up to this many characters. */
const TOOL_MESSAGE_MAX = 500;

/** The output file cannot take the bytes: full, or over a quota. */
export class OutputError extends Error {
  constructor(cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.name = 'OutputError';
  }
}

/**
 * Unpacks a part of a file into another file, from its start.
 * @throws TsvmError `invalid-kernel` when the payload is damaged or not as long as it says,
 *   `cannot-decompress` when the tool for its format is missing, or `file-unreadable`; what the
 *   signal carries when it breaks this off
 * @throws OutputError when `outputFd` cannot be written
 */
export async function decompress(range: CompressedRange, outputFd: number): Promise<void> {
  const input = readRange(range);
  const output = new BoundedFileWriter(outputFd, range.unpackedSizeBytes);
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
  if (output.written !== range.unpackedSizeBytes) {
    throw damaged(range, `${output.written} bytes come out, not ${range.unpackedSizeBytes}`);
  }
}

/** Reads here and writes below are synchronous: none can outlive the caller's descriptors. */
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
  const { command, debianPackage } = TOOLS[format];
  const [file, ...args] = command;
  const child = spawn(file, args, {
    // Nothing else of the environment: options in XZ_OPT and the like change what the tools do.
    env: { PATH: process.env['PATH'], LC_ALL: 'C' },
    // A process group of its own: Ctrl-C is for us, who end the tool and clean up after it.
    detached: true,
  });
  const exited = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
  exited.catch(() => {});
  let message = '';
  child.stderr.setEncoding('latin1').on('data', (text: string) => {
    message = (message + text).slice(0, TOOL_MESSAGE_MAX);
  });
  // A tool that gives up early closes its input; its exit status and message tell why.
  const fed = pipeline(input, child.stdin).catch((error: unknown) => error);
  try {
    await once(child, 'spawn');
  } catch (cause) {
    throw new TsvmError(
      'cannot-decompress',
      `cannot unpack a kernel in ${format} format, as ${file} does not run: ` +
        `install the package ${debianPackage}`,
      { cause },
    );
  }
  try {
    await pipeline(child.stdout, output, options);
  } catch (error) {
    child.kill('SIGKILL');
    await exited;
    throw error;
  }
  const [status, signal] = await exited;
  const feedError = await fed;
  if (feedError instanceof TsvmError) throw feedError;
  if (status === 0) return;
  throw new Error(`${file} ended with ${signal ?? `status ${status}`}: ${message.trim()}`);
}

/** Writes to a file from its start, and fails at the first byte beyond a limit. */
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
      callback(new Error(`more than the ${this.#limitBytes} bytes that it tells come out`));
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
