import { encodeBytes } from '../../util/byte-names.ts';

/** Writes text to standard output; names in it keep their bytes. */
export function print(text: string): void {
  process.stdout.write(text.isWellFormed() ? text : encodeBytes(text));
}

/** JSON as qemu-img prints it: what is no Unicode in a name becomes U+FFFD. */
export function printJson(value: unknown): void {
  const text = JSON.stringify(
    value,
    (_key, part: unknown) => (typeof part === 'string' ? part.toWellFormed() : part),
    4,
  );
  process.stdout.write(`${text}\n`);
}
