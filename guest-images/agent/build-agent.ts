import { execFile } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type CacheEntry, cacheKey } from '../cache.ts';
import { initrdOf } from '../cpio.ts';
import { packageVersion } from '../debian.ts';

const run = promisify(execFile);

const SOURCES = fileURLToPath(new URL('.', import.meta.url));

/** musl, because glibc alone is several times the agent's size. */
const COMPILER = 'musl-gcc';
const FLAGS = [
  '-std=gnu11',
  '-D_GNU_SOURCE',
  '-Os',
  '-Wall',
  '-Wextra',
  '-Werror',
  '-static',
  '-s',
  '-ffunction-sections',
  '-fdata-sections',
  '-fno-asynchronous-unwind-tables',
  '-Wl,--gc-sections',
  // The kernel's headers, which musl has none of its own of.
  '-idirafter',
  '/usr/include',
  '-idirafter',
  '/usr/include/x86_64-linux-gnu',
];

/** The guest agent, and the initrd that consists of it: `agent` and `initrd`. */
export async function agentEntry(): Promise<CacheEntry> {
  const versions = await Promise.all(['musl-dev', 'linux-libc-dev', 'gcc'].map(packageVersion));
  const names = (await readdir(SOURCES)).filter((name) => /\.[ch]$/.test(name)).sort();
  const contents = await Promise.all(names.map((name) => readFile(join(SOURCES, name))));
  return {
    kind: 'agent',
    key: cacheKey([...versions, ...FLAGS, ...names, ...contents]),
    build: async (folder, _scratch, progress) => {
      progress.begin('Compiling the guest agent');
      const program = join(folder, 'agent');
      const sources = names
        .filter((name) => name.endsWith('.c'))
        .map((name) => join(SOURCES, name));
      await run(COMPILER, [...FLAGS, '-o', program, ...sources]);
      await writeFile(join(folder, 'initrd'), initrdOf(await readFile(program)));
      progress.end();
    },
  };
}
