import { execFile } from 'node:child_process';
import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type CpioMember, composeCpio, S_IFDIR, S_IFLNK, S_IFREG } from '../cpio.ts';
import { MODULES } from './module-set.ts';

const run = promisify(execFile);

const LOADER_SOURCE = fileURLToPath(new URL('load-modules.c', import.meta.url));

/** What depmod(8) reads besides the modules. */
const DEPMOD_INPUTS = ['modules.order', 'modules.builtin', 'modules.builtin.modinfo'];

/**
 * Writes the archive `target` with the modules of {@link MODULES}, uncompressed, and the program that
 * loads them. `packageRoot` is the folder of an unpacked kernel package. Works in the folder `scratch`.
 * @throws Error for a module that the kernel lacks, or of the failed tool (musl-gcc, modinfo, xz, depmod)
 */
export async function buildModulesArchive(
  packageRoot: string,
  target: string,
  scratch: string,
): Promise<void> {
  const modules = join(packageRoot, 'lib/modules');
  const [release] = await readdir(modules);
  if (release === undefined) throw new Error(`${packageRoot} has no kernel modules`);
  const source = join(modules, release);
  const staging = join(scratch, 'lib/modules', release);
  await mkdir(staging, { recursive: true });
  for (const name of DEPMOD_INPUTS) await copyFile(join(source, name), join(staging, name));
  await stageModules(source, staging);
  await run('depmod', ['--basedir', scratch, release], {
    env: { ...process.env, PATH: PATH_TO_DEPMOD },
  });
  const loader = join(scratch, 'load-modules');
  await run('musl-gcc', ['-std=gnu11', '-Os', '-s', '-static', '-o', loader, LOADER_SOURCE]);
  await writeFile(target, composeCpio(await archiveEntries(scratch, staging)));
}

/** Users other than root have no /usr/sbin in their PATH. */
const PATH_TO_DEPMOD = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`;

/** The module's name as the kernel has it: files may have hyphens instead. */
function moduleName(path: string): string {
  return basename(path)
    .replace(/[.]ko([.]xz)?$/, '')
    .replaceAll('-', '_');
}

/** Unpacks the wanted modules, and those that they depend on, into `staging`. */
async function stageModules(source: string, staging: string): Promise<void> {
  const kernel = join(source, 'kernel');
  const files = (await readdir(kernel, { recursive: true })).filter((name) =>
    /[.]ko([.]xz)?$/.test(name),
  );
  const byName = new Map(files.map((name) => [moduleName(name), name]));
  const builtin = new Set(
    (await readFile(join(source, 'modules.builtin'), 'utf8')).trimEnd().split('\n').map(moduleName),
  );
  const staged = new Set<string>();
  const wanted = MODULES.map(moduleName);
  for (let name = wanted.pop(); name !== undefined; name = wanted.pop()) {
    if (staged.has(name) || builtin.has(name)) continue;
    staged.add(name);
    const file = byName.get(name);
    if (file === undefined) throw new Error(`${source} has no module ${name}`);
    wanted.push(...(await dependencies(join(kernel, file))));
    await unpack(join(kernel, file), join(staging, 'kernel', file.replace(/[.]xz$/, '')));
  }
}

async function dependencies(path: string): Promise<string[]> {
  const { stdout } = await run('modinfo', ['--field', 'depends', path], {
    env: { ...process.env, PATH: PATH_TO_DEPMOD },
  });
  return stdout
    .trim()
    .split(',')
    .filter((name) => name !== '');
}

async function unpack(path: string, target: string): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  if (!path.endsWith('.xz')) return await copyFile(path, target);
  const { stdout } = await run('xz', ['--decompress', '--stdout', path], {
    encoding: 'buffer',
    maxBuffer: 2 ** 26,
  });
  await writeFile(target, stdout);
}

/** The archive's content, folders before what is in them. */
async function archiveEntries(scratch: string, staging: string): Promise<CpioMember[]> {
  const entries: CpioMember[] = [
    {
      path: 'load-modules',
      mode: S_IFREG | 0o755,
      content: await readFile(join(scratch, 'load-modules')),
    },
    { path: 'sbin', mode: S_IFDIR | 0o755 },
    // A link's content is its target.
    { path: 'sbin/modprobe', mode: S_IFLNK | 0o777, content: Buffer.from('/load-modules') },
    ...['lib', 'lib/modules', relative(scratch, staging)].map((path) => ({
      path,
      mode: S_IFDIR | 0o755,
    })),
  ];
  const found = await readdir(staging, { recursive: true, withFileTypes: true });
  const sorted = found.map((entry) => ({ entry, path: join(entry.parentPath, entry.name) }));
  sorted.sort((a, b) => (a.path < b.path ? -1 : 1));
  for (const { entry, path } of sorted) {
    const name = relative(scratch, path);
    entries.push(
      entry.isDirectory()
        ? { path: name, mode: S_IFDIR | 0o755 }
        : { path: name, mode: S_IFREG | 0o644, content: await readFile(path) },
    );
  }
  return entries;
}
