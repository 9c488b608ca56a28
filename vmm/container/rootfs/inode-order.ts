import { type Directory, type Inode, isDirectory } from './inode.ts';

const SELF = '.';
const PARENT = '..';

/** A directory of a complete tree. */
export interface OrderedDirectory {
  /** Sorted by their bytes, including `.` and `..`. */
  readonly names: readonly string[];
  /** The inode of each name. */
  readonly inodes: readonly Inode[];
}

/**
 * All inodes of a tree, each once, starting with the root. The inodes of a directory are adjacent, so
 * that listing it with attributes reads few blocks. Also counts their links.
 */
export class InodeOrder {
  readonly inodes: Inode[] = [];
  readonly directories = new Map<Inode, OrderedDirectory>();

  constructor(root: Directory) {
    root.links = 2;
    this.inodes.push(root);
    const todo = [{ directory: root, parent: root }];
    for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
      const { directory, parent } = next;
      const below: Directory[] = [];
      const names = sortedNames(directory);
      const inodes = names.map((name) => {
        if (name === SELF) return directory;
        if (name === PARENT) return parent;
        const inode = directory.entries.get(name) ?? directory;
        if (isDirectory(inode)) {
          inode.links = 2;
          directory.links++;
          below.push(inode);
          this.inodes.push(inode);
        } else if (inode.links++ === 0) this.inodes.push(inode);
        return inode;
      });
      this.directories.set(directory, { names, inodes });
      for (const child of below.reverse()) todo.push({ directory: child, parent: directory });
    }
  }
}

/** Archives are often sorted already, and checking that is faster than sorting. */
function sortedNames({ entries }: Directory): string[] {
  const names = [SELF, PARENT, ...entries.keys()];
  return names.sort();
}
