import { loadAddon } from './addon.ts';

/**
 * Puts a terminal in raw mode, its output too: Node's own raw mode keeps translating LF to CR LF.
 * @returns the previous mode, for {@link restoreTerminal}
 * @throws NativeError
 */
export function makeTerminalRaw(fd: number): Uint8Array {
  return loadAddon().makeTerminalRaw(fd);
}

/** False when another process group has the terminal: this process is in the background. */
export function isTerminalOurs(fd: number): boolean {
  return loadAddon().isTerminalOurs(fd);
}

/**
 * Restores a terminal's mode, unless this process is in the background: another process then uses
 * the terminal.
 * @throws NativeError
 */
export function restoreTerminal(fd: number, saved: Uint8Array): void {
  loadAddon().restoreTerminal(fd, saved);
}
