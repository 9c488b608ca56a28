import { appendFileSync, renameSync, statSync } from 'node:fs';
import { makeFolders } from '../../host/make-folders.ts';
import type { ContainerConfig } from './container-config.ts';
import type { ContainerFolders } from './container-folders.ts';

/** Something that has happened, as `events` shows it. */
export interface ContainerEvent {
  readonly type: 'container' | 'image' | 'network' | 'volume';
  /** `create`, `start`, `die`, `exec_start: sh`, ... */
  readonly action: string;
  readonly id: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly timeMs: number;
}

/** From here on events go to a new file; one older file is kept. */
const FILE_MAX_BYTES = 4 * 2 ** 20;

/**
 * Tells whoever follows the events, and keeps the event. Nothing depends on it: a failure, such as that
 * of a full disk, is ignored.
 */
export function recordEvent(
  folders: ContainerFolders,
  config: Pick<ContainerConfig, 'id' | 'image' | 'labels' | 'name'>,
  action: string,
  attributes: Readonly<Record<string, string>> = {},
): void {
  const { id, image, labels, name } = config;
  const event: ContainerEvent = {
    type: 'container',
    action,
    id,
    attributes: { ...labels, ...attributes, image, name },
    timeMs: Date.now(),
  };
  writeEvent(folders, event);
}

/** As {@link recordEvent}, of anything. */
export function writeEvent(folders: ContainerFolders, event: ContainerEvent): void {
  try {
    const size = statSync(folders.events, { throwIfNoEntry: false })?.size ?? 0;
    if (size > FILE_MAX_BYTES) renameSync(folders.events, `${folders.events}.1`);
    makeFolders(folders.root, 0o700);
    // Appending one write is atomic.
    appendFileSync(folders.events, `${JSON.stringify(event)}\n`, { mode: 0o600 });
  } catch {}
}
