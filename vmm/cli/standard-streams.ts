/**
 * Standard output and standard error without blocking: a slow or closed reader or a full disk never
 * stops the program.
 */
import { encodeBytes } from '../util/byte-names.ts';
import { Output } from './output.ts';
import { errnoCode, OutputDescriptor } from './output-descriptor.ts';

const STDOUT = 1;
const STDERR = 2;

/** Maximum size of buffered messages; further messages are dropped and counted. */
const MESSAGES_WAITING_MAX_BYTES = 64 * 1024;
/** Time at exit for the reader of standard error. */
const STDERR_GRACE_MS = 300;

let outputError: unknown;
let output: Output | undefined;
let messages: Output | undefined;

let messagesDropped = 0;

/** Writes to standard output. {@link flushStandardStreams} waits for its reader. */
export function print(text: string): void {
  output ??= new Output(new OutputDescriptor(STDOUT), {
    onLost: (error) => {
      outputError = error;
    },
  });
  output.write(encodeBytes(text));
}

/** Waits until standard output has taken all that was printed. @returns false when it takes no more */
export async function outputIsRead(): Promise<boolean> {
  await output?.drained();
  return outputError === undefined;
}

/**
 * Opens standard error for {@link printMessage}. A sandbox hides /proc, without which a named pipe or a
 * terminal cannot be opened so that a message never waits for its reader.
 */
export function prepareMessages(): void {
  messages ??= new Output(new OutputDescriptor(STDERR));
}

/** Writes a message to standard error. */
export function printMessage(text: string): void {
  messages ??= new Output(new OutputDescriptor(STDERR));
  if (messages.waitingBytes > MESSAGES_WAITING_MAX_BYTES) {
    messagesDropped++;
    return;
  }
  const note = messagesDropped > 0 ? `tsvm: ${messagesDropped} messages were lost here\n` : '';
  messagesDropped = 0;
  messages.write(encodeBytes(note + text));
}

/**
 * Waits until all output is written.
 * @returns false when output was lost. An error message is printed unless the reader has closed it.
 */
export async function flushStandardStreams(): Promise<boolean> {
  await output?.drained();
  const lost = outputError !== undefined && errnoCode(outputError) !== 'EPIPE';
  if (lost) {
    const reason = outputError instanceof Error ? outputError.message : outputError;
    printMessage(`tsvm: standard output cannot be written: ${reason}\n`);
  }
  if (messages === undefined || messages.waitingBytes === 0) return !lost;
  const { promise: late, resolve } = Promise.withResolvers<void>();
  setTimeout(resolve, STDERR_GRACE_MS);
  await Promise.race([messages.drained(), late]);
  return !lost;
}
