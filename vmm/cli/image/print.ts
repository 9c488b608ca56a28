import { encodeBytes } from '../../util/byte-names.ts';
import { TimeSlices } from '../../util/event-loop.ts';

const WRITE_LENGTH = 64 * 1024;

/** Writes text to standard output, preserving the bytes of names. */
export function print(text: string): void {
  process.stdout.write(text.isWellFormed() ? text : encodeBytes(text));
}

/** Prints lines, possibly very many, until the reader closes the pipe. */
export async function printLines(lines: Iterable<string>): Promise<void> {
  const slices = new TimeSlices();
  let readable = true;
  process.stdout.once('error', () => {
    readable = false;
  });
  let text = '';
  const write = async () => {
    print(text);
    text = '';
    // Errors are reported by the event loop.
    await slices.next();
  };
  try {
    for (const line of lines) {
      text += line;
      if (text.length >= WRITE_LENGTH) await write();
      if (!readable) return;
    }
  } finally {
    await write();
  }
}

/** JSON in qemu-img's format: invalid Unicode in names becomes U+FFFD. */
export function printJson(value: unknown): void {
  const text = JSON.stringify(
    value,
    (_key, part: unknown) => (typeof part === 'string' ? part.toWellFormed() : part),
    4,
  );
  process.stdout.write(`${text}\n`);
}
