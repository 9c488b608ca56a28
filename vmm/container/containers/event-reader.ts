import { closeSync, openSync, readSync, statSync, watch } from 'node:fs';
import { makeFolders } from '../../host/make-folders.ts';
import { hasCode } from '../../util/error-code.ts';
import type { ContainerFolders } from './container-folders.ts';
import type { ContainerEvent } from './event-log.ts';

const CHUNK_BYTES = 64 * 1024;
const LINE_FEED = 0x0a;

/**
 * Events as they happen, after those that are kept from `sinceMs` on. Without `untilMs` it does not
 * end.
 */
export async function* readEvents(
  folders: ContainerFolders,
  sinceMs: number | undefined,
  untilMs: number | undefined,
): AsyncGenerator<ContainerEvent> {
  makeFolders(folders.root, 0o700);
  let wake = () => {};
  const watcher = watch(folders.root, () => wake());
  try {
    const path = folders.events;
    let { ino, offset } = placeOf(path, sinceMs !== undefined);
    if (sinceMs !== undefined) {
      for (const event of eventsOf(`${path}.1`, 0).events) {
        if (event.timeMs >= sinceMs && event.timeMs <= (untilMs ?? Infinity)) yield event;
      }
    }
    for (;;) {
      const changed = new Promise<void>((resolve) => {
        wake = resolve;
      });
      const now = statSync(path, { throwIfNoEntry: false });
      if (now !== undefined && now.ino !== ino) {
        // The rest of the file that has been replaced comes first.
        if (ino !== 0) yield* eventsOf(`${path}.1`, offset).events;
        ino = now.ino;
        offset = 0;
      }
      const { end, events } = eventsOf(path, offset);
      offset = end;
      for (const event of events) {
        if (event.timeMs < (sinceMs ?? 0)) continue;
        if (untilMs !== undefined && event.timeMs > untilMs) return;
        yield event;
      }
      if (untilMs === undefined) await changed;
      else {
        const leftMs = untilMs - Date.now();
        if (leftMs <= 0) return;
        const timer = setTimeout(() => wake(), leftMs);
        await changed;
        clearTimeout(timer);
      }
    }
  } finally {
    watcher.close();
  }
}

function placeOf(path: string, fromStart: boolean): { ino: number; offset: number } {
  const stats = statSync(path, { throwIfNoEntry: false });
  return { ino: stats?.ino ?? 0, offset: fromStart ? 0 : (stats?.size ?? 0) };
}

/** The complete lines of a file from `offset` on. */
function eventsOf(path: string, offset: number): { events: ContainerEvent[]; end: number } {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return { events: [], end: offset };
    throw error;
  }
  const chunks: Buffer[] = [];
  try {
    for (let at = offset; ; ) {
      const chunk = Buffer.alloc(CHUNK_BYTES);
      const count = readSync(fd, chunk, 0, CHUNK_BYTES, at);
      if (count === 0) break;
      chunks.push(chunk.subarray(0, count));
      at += count;
    }
  } finally {
    closeSync(fd);
  }
  const bytes = Buffer.concat(chunks);
  const end = bytes.lastIndexOf(LINE_FEED) + 1;
  const lines = bytes.subarray(0, end).toString().split('\n').slice(0, -1);
  return { events: lines.flatMap(parseEvent), end: offset + end };
}

/** A line that is damaged is left out. */
function parseEvent(line: string): ContainerEvent[] {
  try {
    return [JSON.parse(line) as ContainerEvent];
  } catch {
    return [];
  }
}
