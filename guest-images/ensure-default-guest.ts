import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { replaceFile } from '../vmm/host/atomic-file.ts';
import { agentEntry } from './agent/build-agent.ts';
import type { BuildProgress } from './build-progress.ts';
import { ensureEntry, entryFolder } from './cache.ts';
import { isInstalled } from './debian.ts';
import { type DefaultGuest, type DefaultKernel, defaultGuestPointerPath } from './default-guest.ts';
import { kernelEntry, SOURCE_PACKAGE } from './kernel/build-kernel.ts';
import { prebuiltKernelEntry } from './modules/prebuilt-kernel.ts';
import { rootDiskEntry } from './rootfs/root-disk-entry.ts';

type GuestKernel = DefaultKernel & Pick<DefaultGuest, 'vmlinuxPath'>;

/**
 * Returns the default guest after building the parts that are not cached, and records its paths for
 * `locateDefaultGuest`. The tuned kernel takes minutes to build, so it is built only when `build` asks
 * for it, and used if it is there; all else takes seconds.
 * @throws Error that says what failed and where to look
 */
export async function ensureDefaultGuest(
  progress: BuildProgress,
  build: { readonly tunedKernel: boolean },
): Promise<DefaultGuest> {
  const tuned = build.tunedKernel || (await isTunedKernelBuilt());
  const kernel = await (tuned ? tunedKernel(progress) : prebuiltKernel(progress));
  const rootfs = await ensureEntry(await rootDiskEntry(), progress);
  const agent = await ensureEntry(await agentEntry(), progress);
  const guest: DefaultGuest = {
    ...kernel,
    rootDiskPath: join(rootfs, 'rootfs.ext4'),
    agentInitrdPath: join(agent, 'initrd'),
  };
  const pointer = defaultGuestPointerPath();
  await mkdir(dirname(pointer), { recursive: true });
  // Replaced atomically, because a machine may be booting at this moment.
  replaceFile(pointer, `${JSON.stringify(guest, null, 2)}\n`, { mode: 0o644 });
  return guest;
}

async function isTunedKernelBuilt(): Promise<boolean> {
  return (await isInstalled(SOURCE_PACKAGE)) && existsSync(entryFolder(await kernelEntry()));
}

async function tunedKernel(progress: BuildProgress): Promise<GuestKernel> {
  const folder = await ensureEntry(await kernelEntry(), progress);
  return { kernelPath: join(folder, 'bzImage'), vmlinuxPath: join(folder, 'vmlinux') };
}

async function prebuiltKernel(progress: BuildProgress): Promise<GuestKernel> {
  const folder = await ensureEntry(await prebuiltKernelEntry(), progress);
  return { kernelPath: join(folder, 'vmlinuz'), modulesPath: join(folder, 'modules.cpio') };
}
