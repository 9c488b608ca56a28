/**
 * Text that comes from an image or a guest, as it may go to a terminal: without control characters,
 * and not without end.
 */
export function printable(text: string, lengthMax = 1023): string {
  return text.slice(0, lengthMax).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\ufffd');
}
