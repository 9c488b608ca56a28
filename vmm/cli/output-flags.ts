/**
 * Keeps `process.stdout` and `process.stderr` from setting O_NONBLOCK on an inherited pipe or socket.
 * Other processes share its flags: the shell whose script this command is part of could not write to it
 * any more without EAGAIN. Not using these streams would not suffice: Node asks for `process.stderr`
 * itself, when it closes a socket and when it loads `node:assert`, and Commander for both. So each
 * program imports this module first.
 */
import { constants, fstatSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { Writable } from 'node:stream';
import { Output } from './output.ts';
import { OutputDescriptor } from './output-descriptor.ts';

const STDOUT = 1;
const STDERR = 2;

replaceStream('stdout', STDOUT);
replaceStream('stderr', STDERR);

function replaceStream(name: 'stdout' | 'stderr', fd: number): void {
  const ofNode = Object.getOwnPropertyDescriptor(process, name)?.get;
  let stream: unknown;
  Object.defineProperty(process, name, {
    configurable: true,
    enumerable: true,
    get: () => {
      stream ??= openStream(fd) ?? ofNode?.call(process);
      return stream;
    },
  });
}

/** @returns undefined for a file or a terminal, whose flags Node leaves alone, and for a closed descriptor */
function openStream(fd: number): Writable | undefined {
  try {
    const stat = fstatSync(fd);
    if (stat.isFIFO()) return openPipe(fd) ?? streamOf(new OutputDescriptor(fd));
    if (stat.isSocket()) return streamOf(new OutputDescriptor(fd));
  } catch {
    // Node opens /dev/null in place of a closed descriptor.
  }
  return undefined;
}

/**
 * Opens a pipe again, so that it has flags of its own. Its reader wakes us, which is many times faster
 * than trying again and again.
 * @returns undefined if it is another user's, or without /proc
 */
export function openPipe(fd: number): Socket | undefined {
  try {
    const own = openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK);
    return new Socket({ fd: own, readable: false, writable: true });
  } catch {
    return undefined;
  }
}

function streamOf(descriptor: OutputDescriptor): Writable {
  let failure: unknown;
  const output = new Output(descriptor, {
    onLost: (error) => {
      failure = error;
    },
  });
  return new Writable({
    write: (chunk: Uint8Array, _encoding, done) => {
      output.write(chunk);
      void output.drained().then(() => done(failure instanceof Error ? failure : null));
    },
  });
}
