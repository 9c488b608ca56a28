import { type Directory, type Inode, isDirectory } from './inode.ts';

const SELF = '.';
const PARENT = '..';

/** What is known of a directory once the tree is complete. */
export interface OrderedDirectory {
  /** In the order of their bytes, with `.` and `..`. */
  readonly names: readonly string[];
  /** What each of the names stands for. */
  readonly inodes: readonly Inode[];
}

/**
 * All inodes of a tree, the root first, each once: a directory's follow one another, so that to list
 * it with its attributes reads few blocks. Counts their links on the way.
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

/** Archives often have their names in order already: to find that out takes less than to sort. */
function sortedNames({ entries }: Directory): string[] {
  const names = [SELF, PARENT, ...entries.keys()];
  return names.sort();
}
