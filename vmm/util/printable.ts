/**
 * Makes text from an image or a guest safe for a terminal: without control characters and of
 * bounded length.
 */
export function printable(text: string, lengthMax = 1023): string {
  return text.slice(0, lengthMax).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\ufffd');
}
