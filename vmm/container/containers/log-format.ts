import { isUtf8 } from 'node:buffer';

/** The lines of `container.log`: those of Docker's json-file driver, with one addition. */

export type LogStream = 'stdout' | 'stderr';

/** A piece of output. A line that came in several pieces has its line feed in the last. */
export interface LogEntry {
  readonly stream: LogStream;
  readonly timeMs: number;
  readonly bytes: Uint8Array;
}

/** A line of the file. The container's end is marked, so that a follower knows that all is there. */
export type LogLine = LogEntry | 'end';

interface StoredEntry {
  readonly log?: string;
  /** In place of `log`, for what is not UTF-8 or has NULs: base64. */
  readonly bytes?: string;
  readonly stream?: LogStream;
  readonly time?: string;
  readonly end?: true;
}

/** With its line feed. */
export function encodeEntry(stream: LogStream, bytes: Buffer, time: string): string {
  // JSON would take six characters for a NUL.
  const isText = isUtf8(bytes) && !bytes.includes(0);
  return isText
    ? `{"log":${JSON.stringify(bytes.toString('utf8'))},"stream":"${stream}","time":"${time}"}\n`
    : `{"bytes":"${bytes.toString('base64')}","stream":"${stream}","time":"${time}"}\n`;
}

export function encodeEnd(time: string): string {
  return `{"end":true,"time":"${time}"}\n`;
}

/** Undefined for a line that is damaged, as a power cut may leave it. */
export function decodeLine(line: string): LogLine | undefined {
  let stored: StoredEntry;
  try {
    stored = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (stored.end === true) return 'end';
  const { bytes, log = '', stream = 'stdout', time = '' } = stored;
  const content = bytes === undefined ? Buffer.from(log) : Buffer.from(bytes, 'base64');
  return { stream, timeMs: Date.parse(time), bytes: content };
}
