import { accessSync, constants, readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { delimiter, join } from 'node:path';

/** Users and groups that a user may have besides their own: subuid(5), subgid(5). */
const RANGES = ['/etc/subuid', '/etc/subgid'];
/** Set-user-ID programs that map them (Debian: uidmap). */
const MAPPERS = ['newuidmap', 'newgidmap'];

/**
 * Options of unshare(1) for a user namespace in which this user is root. If the host allows this
 * user more users and groups, files in it can belong to them: to all those of a usual image.
 */
export function userNamespace(): string[] {
  return hasSubordinateIds() ? ['--map-root-user', '--map-auto'] : ['--map-root-user'];
}

/** Whether files of a container can belong to several users, when this user is not root. */
export function hasSubordinateIds(): boolean {
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  const isThere = (program: string) =>
    folders.some((folder) => isExecutable(join(folder, program)));
  return MAPPERS.every(isThere) && RANGES.every(hasRange);
}

function hasRange(file: string): boolean {
  const names = [String(process.getuid?.())];
  try {
    names.push(userInfo().username);
  } catch {
    // A user id without an entry.
  }
  try {
    const owners = readFileSync(file, 'utf8')
      .split('\n')
      .map((line) => line.split(':')[0] ?? '');
    return owners.some((owner) => names.includes(owner));
  } catch {
    return false;
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
