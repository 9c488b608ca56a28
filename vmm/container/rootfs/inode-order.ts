import { type Directory, type Inode, isDirectory } from './inode.ts';

/**
 * All inodes of a tree, the root first, each once: a directory's follow one another, so that to list
 * it with its attributes reads few blocks. Counts their links on the way.
 */
export class InodeOrder {
  readonly inodes: Inode[] = [];
  /** What `..` is. */
  readonly parents = new Map<Inode, Directory>();

  constructor(root: Directory) {
    this.#add(root, root);
    const todo = [root];
    for (let directory = todo.pop(); directory !== undefined; directory = todo.pop()) {
      const below: Directory[] = [];
      for (const name of [...directory.entries.keys()].sort()) {
        const inode = directory.entries.get(name);
        if (inode === undefined) continue;
        if (isDirectory(inode)) {
          this.#add(inode, directory);
          directory.links++;
          below.push(inode);
        } else {
          if (inode.links === 0) this.inodes.push(inode);
          inode.links++;
        }
      }
      todo.push(...below.reverse());
    }
  }

  #add(directory: Directory, parent: Directory): void {
    directory.links = 2;
    this.inodes.push(directory);
    this.parents.set(directory, parent);
  }
}
