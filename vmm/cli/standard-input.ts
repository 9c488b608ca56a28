import { constants, fstatSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';

const STDIN = 0;

let input: Readable | undefined;

/**
 * Standard input as a stream. A pipe is opened again: Node sets O_NONBLOCK on what it reads, and other
 * processes share the descriptor that was inherited, with its flags. They could not read from it any more:
 * the shell whose script this command is part of, or its next command.
 */
export function standardInput(): Readable {
  input ??= openPipe() ?? process.stdin;
  return input;
}

function openPipe(): Readable | undefined {
  if (!fstatSync(STDIN).isFIFO()) return undefined;
  try {
    const fd = openSync(`/proc/self/fd/${STDIN}`, constants.O_RDONLY | constants.O_NONBLOCK);
    return new Socket({ fd, readable: true, writable: false });
  } catch {
    // Another user's.
    return undefined;
  }
}
