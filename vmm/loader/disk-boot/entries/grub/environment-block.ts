/** GRUB's environment block, `grubenv`: "The GRUB environment block" of its manual. */
const SIGNATURE = '# GRUB Environment Block\n';

/** The variables in it; none when it is not one. */
export function parseEnvironmentBlock(text: string): Map<string, string> {
  const variables = new Map<string, string>();
  if (!text.startsWith(SIGNATURE)) return variables;
  for (let at = SIGNATURE.length; at < text.length; ) {
    const { line, end } = readLine(text, at);
    const equals = line.indexOf('=');
    // Comments; the padding is one too.
    if (equals > 0 && !line.startsWith('#'))
      variables.set(line.slice(0, equals), line.slice(equals + 1));
    at = end;
  }
  return variables;
}

/** A backslash makes the next character, even a line break, a part of the line. */
function readLine(text: string, start: number): { line: string; end: number } {
  const line: string[] = [];
  let at = start;
  for (; at < text.length && text.charAt(at) !== '\n'; at++) {
    if (text.charAt(at) === '\\') at++;
    line.push(text.charAt(at));
  }
  return { line: line.join(''), end: at + 1 };
}
