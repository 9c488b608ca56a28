import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** All time stamps on the disk, in `s` since 1970, for reproducible builds: 2025-01-01. */
const TIMESTAMP = 1_735_689_600;
const UUID = '7473766d-0000-4000-8000-726f6f746673';
const HASH_SEED = '7473766d-0000-4000-8000-686173680000';

/** Size of the journal in `MiB`: the minimum that ext4 accepts without a warning; loads quickly. */
const JOURNAL_MIB = 4;

/**
 * All features are listed explicitly, because mke2fs.conf differs between hosts. A journal keeps the
 * disk consistent after a power failure. No metadata checksums: the guest would compute them in
 * software, with thousands of instructions per block, and the host's storage has its own. No features
 * for large or growing disks, because this one is small and is rebuilt instead.
 */
const FEATURES =
  'has_journal,extent,dir_index,filetype,sparse_super,large_file,huge_file,dir_nlink,extra_isize';

/**
 * Formats the image file `image`, which has its final size, as ext4 with the files of `root`. On the
 * disk, root owns all files.
 */
export async function makeExt4(image: string, root: string): Promise<void> {
  const env = {
    ...process.env,
    E2FSPROGS_FAKE_TIME: String(TIMESTAMP),
    MKE2FS_CONFIG: '/dev/null',
  };
  await run(
    'mke2fs',
    [
      ...['-q', '-F', '-t', 'ext4', '-L', 'tsvm-root', '-U', UUID, '-O', FEATURES],
      ...['-b', '4096', '-I', '256', '-m', '0', '-J', `size=${JOURNAL_MIB}`],
      ...['-E', `root_owner=0:0,hash_seed=${HASH_SEED},lazy_itable_init=0,lazy_journal_init=0`],
      ...['-d', root, image],
    ],
    { env },
  );
  await normalizeInodes(image, root, env);
}

/** Sets owners and times in the image with debugfs, because mke2fs copies those of the files. */
async function normalizeInodes(image: string, root: string, env: NodeJS.ProcessEnv): Promise<void> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const paths = entries.map((entry) => `/${relative(root, join(entry.parentPath, entry.name))}`);
  const stamp = `@${TIMESTAMP}`;
  const fields = { uid: '0', gid: '0', atime: stamp, ctime: stamp, mtime: stamp, crtime: stamp };
  const commands = ['/', '/lost+found', ...paths].flatMap((path) =>
    Object.entries(fields).map(([field, value]) => `set_inode_field "${path}" ${field} ${value}`),
  );
  const running = run('debugfs', ['-w', '-f', '-', image], { env });
  running.child.stdin?.end(`${commands.join('\n')}\n`);
  const { stderr } = await running;
  // The first line is the version of debugfs.
  const complaint = stderr.split('\n').slice(1).join('\n').trim();
  if (complaint !== '') {
    throw new Error(`debugfs could not set the owner of a file on the root disk: ${complaint}`);
  }
}
