/** Shared parts of the tests with real Linux guests. */
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { StreamProgress } from '../../guest-images/build-progress.ts';
import { ensureEntry } from '../../guest-images/cache.ts';
import {
  type DefaultGuest,
  type DefaultKernel,
  locateDefaultGuest,
} from '../../guest-images/default-guest.ts';
import { prebuiltKernelEntry } from '../../guest-images/modules/prebuilt-kernel.ts';
import { buildRootDisk, type ExtraFile } from '../../guest-images/rootfs/build-root-disk.ts';
import { packageRoot } from '../../vmm/util/package-root.ts';
import { temporaryFolder } from './tsvm-process.ts';

/**
 * Time for a boot to the shell, or for a command in it. Usually it takes a second or less, but about a
 * hundred times that on an emulated host, or if KVM emulates the guest's kernel.
 */
export const BOOT_TIMEOUT_MS = 600_000;
export const COMMAND_TIMEOUT_MS = 180_000;

/** The shell's prompt at the end of the screen. */
export const PROMPT = /[#$]$/;

/** The guest that set-up builds. If it is missing, these tests fail. */
export function defaultGuest(): DefaultGuest {
  const guest = locateDefaultGuest();
  if (guest === undefined) throw new Error('the default guest is not built: npm run setup');
  return guest;
}

/** The default guest's kernel, as fields of a machine's configuration. */
export function defaultKernel(): DefaultKernel {
  const { kernelPath, modulesPath } = defaultGuest();
  return { kernelPath, ...(modulesPath !== undefined && { modulesPath }) };
}

/** Debian's cloud kernel with its modules, for tests that the tuned kernel cannot serve. */
export async function prebuiltKernel(): Promise<DefaultKernel> {
  const progress = new StreamProgress(process.stderr);
  const folder = await ensureEntry(await prebuiltKernelEntry(), progress);
  return { kernelPath: join(folder, 'vmlinuz'), modulesPath: join(folder, 'modules.cpio') };
}

/**
 * The kernel that `tsvm kernel build` compiles, for tests that Debian's cannot serve, or the reason why
 * there is none.
 */
export function tunedKernel():
  | { readonly kernelPath: string; readonly vmlinuxPath: string }
  | { readonly missing: string } {
  const { kernelPath, vmlinuxPath } = defaultGuest();
  return vmlinuxPath === undefined
    ? { missing: 'the tuned kernel is not built: tsvm kernel build' }
    : { kernelPath, vmlinuxPath };
}

/**
 * A copy of the default guest's root disk with additional files, which the test may change.
 * @param sizeMib size if files are added
 */
export async function rootDisk(
  test: TestContext,
  extraFiles: ExtraFile[] = [],
  sizeMib?: number,
): Promise<string> {
  const target = join(temporaryFolder(test), 'root.ext4');
  const size = sizeMib === undefined ? {} : { sizeMib };
  if (extraFiles.length > 0) await buildRootDisk({ target, extraFiles, ...size });
  else {
    copyFileSync(defaultGuest().rootDiskPath, target);
    chmodSync(target, 0o600);
  }
  return target;
}

/** Whether the processor has a feature, by its /proc/cpuinfo name. */
export function processorHas(feature: string): boolean {
  const [, flags = ''] = /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8')) ?? [];
  return flags.split(' ').includes(feature);
}

const AVX_SOURCE = join(packageRoot(), 'test/support/guest-programs/avx-tasks.c');

/** The AVX program, linked statically and dynamically, with the C library that the latter needs. */
export function avxPrograms(test: TestContext): ExtraFile[] {
  const folder = temporaryFolder(test);
  const compile = (name: string, flags: readonly string[]): ExtraFile => {
    const source = join(folder, name);
    execFileSync('gcc', ['-O1', '-mavx2', ...flags, '-o', source, AVX_SOURCE]);
    return { path: `/usr/bin/${name}`, mode: 0o755, source };
  };
  const programs = [compile('avx-static', ['-static']), compile('avx-dynamic', [])];
  const libraries = ['/lib64/ld-linux-x86-64.so.2', '/lib/x86_64-linux-gnu/libc.so.6'];
  return [...programs, ...libraries.map((path) => ({ path, mode: 0o755, source: path }))];
}
