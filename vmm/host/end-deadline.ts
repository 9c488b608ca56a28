import { loadAddon } from './addon.ts';

/**
 * Ends the process with 128 + N, `graceMs` after the first of these signals, however busy the event
 * loop is, or at once when any but SIGHUP arrives a second time. Call it once, after the handlers of
 * the signals were installed.
 */
export function setEndDeadline(signals: readonly number[], graceMs: number): void {
  loadAddon().setEndDeadline(signals, graceMs);
}
