import { outputIsRead, print } from '../standard-streams.ts';

const WRITE_LENGTH = 64 * 1024;

/** Prints lines, possibly very many, as fast as they are read, until the reader closes the pipe. */
export async function printLines(lines: Iterable<string>): Promise<void> {
  let text = '';
  try {
    for (const line of lines) {
      text += line;
      if (text.length < WRITE_LENGTH) continue;
      print(text);
      text = '';
      if (!(await outputIsRead())) return;
    }
  } finally {
    // Also those before an error.
    print(text);
  }
}

/** JSON in qemu-img's format: invalid Unicode in names becomes U+FFFD. */
export function printJson(value: unknown): void {
  const text = JSON.stringify(
    value,
    (_key, part: unknown) => (typeof part === 'string' ? part.toWellFormed() : part),
    4,
  );
  print(`${text}\n`);
}
