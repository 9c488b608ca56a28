import { decodeBytes } from '../../../util/byte-names.ts';
import type { FileSystem, Inode, Root } from './file-system.ts';

/** Linux's MAXSYMLINKS. */
const LINKS_MAX = 40;
/** Linux's PATH_MAX. */
const PATH_BYTES_MAX = 4096;

/**
 * Resolves a path in a file system. Links are followed inside it: an absolute target begins at `root`,
 * and ".." at the root stays there.
 * @returns undefined when there is nothing, also for links in circles
 * @throws TsvmError `invalid-disk`
 */
export function findPath(fileSystem: FileSystem, root: Root, path: string): Inode | undefined {
  const parents: Inode[] = [];
  let at: Inode = root.inode;
  let names = path.split('/');
  let links = 0;
  for (let name = names.shift(); name !== undefined; name = names.shift()) {
    if (name === '' || name === '.') continue;
    if (at.kind !== 'directory') return undefined;
    if (name === '..') {
      at = parents.pop() ?? at;
      continue;
    }
    const found = lookUp(fileSystem, at, name);
    if (found === undefined) return undefined;
    if (found.kind !== 'symlink') {
      parents.push(at);
      at = found;
      continue;
    }
    if (++links > LINKS_MAX || found.sizeBytes > PATH_BYTES_MAX) return undefined;
    const target = decodeBytes(found.read(0, found.sizeBytes));
    if (target.startsWith('/')) {
      parents.length = 0;
      at = root.inode;
    }
    names = [...target.split('/'), ...names];
    if (names.length > PATH_BYTES_MAX) return undefined;
  }
  return at;
}

function lookUp({ ignoresCase }: FileSystem, directory: Inode, name: string): Inode | undefined {
  const key = ignoresCase ? name.toLowerCase() : name;
  const entry = directory
    .entries()
    .find((candidate) => (ignoresCase ? candidate.name.toLowerCase() : candidate.name) === key);
  return entry?.open();
}
