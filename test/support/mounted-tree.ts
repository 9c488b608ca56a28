/** The content of a folder: everything that stat(2), readlink(2), getxattr(2) and read(2) return. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { type Dirent, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface TreeEntry {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: bigint;
  readonly size: bigint;
  readonly rdev: bigint;
  readonly nlink: bigint;
  /** Target of a link or hash of the content. */
  readonly content: string;
  readonly xattrs: string;
}

/** By path, as latin1; the root is ''. */
export function readTree(root: string): Map<string, TreeEntry> {
  const tree = new Map<string, TreeEntry>();
  const xattrs = readXattrs(root);
  const visit = (path: string): void => {
    const full = Buffer.from(`${root}/${path}`, 'latin1');
    const stat = lstatSync(full, { bigint: true });
    let content = '';
    if (stat.isSymbolicLink()) content = readlinkSync(full, 'latin1');
    if (stat.isFile()) content = createHash('sha256').update(readFileSync(full)).digest('hex');
    tree.set(path, {
      mode: Number(stat.mode),
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      mtimeNs: stat.mtimeNs,
      size: stat.isDirectory() ? 0n : stat.size,
      rdev: stat.rdev,
      nlink: stat.isDirectory() ? 0n : stat.nlink,
      content,
      xattrs: xattrs.get(path) ?? '',
    });
    if (!stat.isDirectory()) return;
    const entries: Dirent<Buffer>[] = readdirSync(full, {
      encoding: 'buffer',
      withFileTypes: true,
    });
    for (const { name } of entries) {
      visit(path === '' ? name.toString('latin1') : `${path}/${name.toString('latin1')}`);
    }
  };
  visit('');
  return tree;
}

function readXattrs(root: string): Map<string, string> {
  const dump = execFileSync(
    'getfattr',
    ['-R', '-P', '-h', '-d', '-m', '-', '-e', 'hex', '--absolute-names', '--', root],
    { maxBuffer: 2 ** 28, stdio: ['ignore', 'pipe', 'ignore'] },
  ).toString('latin1');
  const found = new Map<string, string>();
  for (const block of dump.split('\n\n')) {
    const [first = '', ...lines] = block.trim().split('\n');
    if (!first.startsWith('# file: ')) continue;
    const path = first
      .slice('# file: '.length)
      .replace(/\\([0-7]{3})/g, (_, digits) => String.fromCharCode(Number.parseInt(digits, 8)));
    found.set(path.slice(root.length + 1), lines.sort().join('\n'));
  }
  return found;
}

/** The differences; empty if there are none. */
export function compareTrees(
  actual: ReadonlyMap<string, TreeEntry>,
  expected: ReadonlyMap<string, TreeEntry>,
  ignore: (path: string, field: string) => boolean = () => false,
): string[] {
  const differences: string[] = [];
  for (const path of new Set([...actual.keys(), ...expected.keys()])) {
    const a = actual.get(path);
    const b = expected.get(path);
    const shown = JSON.stringify(path);
    if (a === undefined || b === undefined) {
      differences.push(`${shown} is ${a === undefined ? 'missing' : 'too much'}`);
      continue;
    }
    for (const field of Object.keys(b) as (keyof TreeEntry)[]) {
      if (a[field] === b[field] || ignore(path, field)) continue;
      differences.push(`${shown} ${field}: ${a[field]}, expected ${b[field]}`);
    }
  }
  return differences;
}
