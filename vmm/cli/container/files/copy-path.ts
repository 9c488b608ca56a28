/** Paths of `cp`. Docker's documentation, "docker container cp", has the rules. */
import { basename, dirname } from 'node:path/posix';
import { TsvmError } from '../../../errors.ts';

/** A side of `cp`. */
export type CopyEnd =
  | { readonly kind: 'container'; readonly container: string; readonly path: string }
  | { readonly kind: 'host'; readonly path: string }
  | { readonly kind: 'stream' };

/** `CONTAINER:PATH`, `-`, or a path of the host; one that contains a colon has a slash before it. */
export function parseCopyEnd(text: string): CopyEnd {
  if (text === '-') return { kind: 'stream' };
  if (text.startsWith('/') || text.startsWith('.')) return { kind: 'host', path: text };
  const colon = text.indexOf(':');
  if (colon < 0) return { kind: 'host', path: text };
  return { kind: 'container', container: text.slice(0, colon), path: text.slice(colon + 1) };
}

/** Whether a path asks for a folder: `PATH/`. */
export function endsWithSeparator(path: string): boolean {
  return path.endsWith('/');
}

/** Whether a path asks for what is in a folder: `PATH/.` */
export function asksContents(path: string): boolean {
  return path === '.' || path.endsWith('/.');
}

/** Whether a path has to lead to a folder. */
export function assertsFolder(path: string): boolean {
  return endsWithSeparator(path) || asksContents(path);
}

/** A path in a container, absolute. */
export function containerPath(path: string): string {
  return path.startsWith('/') ? path : `/${path}`;
}

/** @throws TsvmError for a path without a last part */
export function splitPath(path: string): { folder: string; name: string } {
  const name = basename(path);
  if (name === '' || name === '.' || name === '..') {
    throw new TsvmError('invalid-config', `invalid path: ${path}`);
  }
  return { folder: dirname(path), name };
}
