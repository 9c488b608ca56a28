import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * The folder of the package this file belongs to, whether it runs from source or from the bundle.
 * @throws Error when no parent folder has a package.json, which is a broken installation.
 */
export function packageRoot(): string {
  for (let folder = import.meta.dirname; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder;
    if (folder === dirname(folder)) throw new Error('tsvm is not in its package: install it again');
  }
}
