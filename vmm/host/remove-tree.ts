import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { hasCode } from '../util/error-code.ts';
import { userNamespace } from './user-namespace.ts';

/**
 * Removes a folder with all that is in it, also files that containers of an ordinary user have made,
 * which belong to users of its user namespace.
 * @throws Error of node:fs, or of `rm`
 */
export function removeTree(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true });
  } catch (error) {
    if (process.geteuid?.() === 0 || !hasCode(error, 'EACCES', 'EPERM')) throw error;
    const [program = '', ...words] = ['unshare', ...userNamespace(), '--', 'rm', '-rf', '--', path];
    execFileSync(program, words, { stdio: 'pipe' });
  }
}
