/** Longer than any kernel command line, and short enough for whatever is done with a line. */
const LINE_LENGTH_MAX = 8192;

/** The lines of a configuration file, trimmed, without comments, empty lines and endless ones. */
export function configLines(text: string): string[] {
  return text
    .split('\n')
    .filter((line) => line.length <= LINE_LENGTH_MAX)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}
