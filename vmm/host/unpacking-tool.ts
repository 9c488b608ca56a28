/**
 * The system's tools that unpack what Node does not. They are well maintained, and parse hostile bytes
 * in a separate process.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { TsvmError } from '../errors.ts';

interface Tool {
  readonly command: readonly [string, ...string[]];
  /** Debian package that contains the tool. */
  readonly debianPackage: string;
}

export type ToolFormat = 'xz' | 'lzma' | 'bzip2' | 'lzo' | 'lz4';

/** Kernels use a 128 MiB xz dictionary (scripts/xz_wrap.sh); a hostile file could ask for 4 GiB. */
const XZ_MEMORY_LIMIT = '--memlimit-decompress=256MiB';

const TOOLS: Record<ToolFormat, Tool> = {
  xz: { command: ['xz', '-dc', '--format=xz', XZ_MEMORY_LIMIT], debianPackage: 'xz-utils' },
  lzma: { command: ['xz', '-dc', '--format=lzma', XZ_MEMORY_LIMIT], debianPackage: 'xz-utils' },
  bzip2: { command: ['bzip2', '-dc'], debianPackage: 'bzip2' },
  lzo: { command: ['lzop', '-dc'], debianPackage: 'lzop' },
  lz4: { command: ['lz4', '-dc'], debianPackage: 'lz4' },
};

/** Maximum number of characters kept of a failing tool's message. */
const TOOL_MESSAGE_MAX = 500;

export interface UnpackingTool {
  /** The packed bytes. A tool that fails early closes it; {@link finished} gives the reason. */
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Waits for its end. @throws Error with the tool's message if it failed */
  finished(): Promise<void>;
  /** Ends it early, and waits for its end. */
  kill(): Promise<void>;
}

/**
 * Starts the tool for a format.
 * @param what names what is unpacked in the message
 * @throws TsvmError `cannot-decompress` when the tool is missing
 */
export async function startUnpackingTool(
  format: ToolFormat,
  what: string,
  options: readonly string[] = [],
): Promise<UnpackingTool> {
  const { command, debianPackage } = TOOLS[format];
  const [file, ...args] = command;
  const child = spawn(file, [...args, ...options], {
    // No other variables: XZ_OPT and the like change what the tools do.
    env: { PATH: process.env['PATH'], LC_ALL: 'C' },
    // In its own process group, so that Ctrl-C reaches only tsvm, which ends the tool itself.
    detached: true,
  });
  const exited = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
  exited.catch(() => {});
  let message = '';
  child.stderr.setEncoding('latin1').on('data', (text: string) => {
    message = (message + text).slice(0, TOOL_MESSAGE_MAX);
  });
  try {
    await once(child, 'spawn');
  } catch (cause) {
    throw new TsvmError(
      'cannot-decompress',
      `cannot unpack ${what} in ${format} format: ${file} is missing or cannot be run; ` +
        `install the package ${debianPackage}`,
      { cause },
    );
  }
  return {
    stdin: child.stdin,
    stdout: child.stdout,
    finished: async () => {
      const [status, signal] = await exited;
      if (status === 0) return;
      throw new Error(`${file} ended with ${signal ?? `status ${status}`}: ${message.trim()}`);
    },
    kill: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}
