import { constants } from 'node:os';
import { TsvmError } from '../../errors.ts';
import { hasCode } from '../../util/error-code.ts';
import { exitCodeOfSignal } from '../exit-codes.ts';

/**
 * Writes an archive to standard output, and waits until its reader has taken all of it.
 * @param signal breaks the writing off
 * @returns the exit code; if the reader has closed the pipe, that of a program ended by SIGPIPE
 */
export async function writeToStdout(
  pieces: AsyncIterable<Uint8Array>,
  signal?: AbortSignal,
): Promise<number> {
  const { stdout } = process;
  // Each write says whether it has failed.
  stdout.on('error', () => {});
  try {
    for await (const piece of pieces) {
      signal?.throwIfAborted();
      await new Promise<void>((resolve, reject) => {
        stdout.write(piece, (error) => (error ? reject(error) : resolve()));
      });
    }
    return 0;
  } catch (cause) {
    if (hasCode(cause, 'EPIPE')) return exitCodeOfSignal(constants.signals.SIGPIPE);
    if (!(cause instanceof Error && 'syscall' in cause)) throw cause;
    const message = `standard output cannot be written: ${cause.message}`;
    throw new TsvmError('file-unreadable', message, { cause });
  }
}
