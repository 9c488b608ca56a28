import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { replaceFile } from '../vmm/host/atomic-file.ts';
import { agentEntry } from './agent/build-agent.ts';
import type { BuildProgress } from './build-progress.ts';
import { ensureEntry } from './cache.ts';
import { type DefaultGuest, defaultGuestPointerPath } from './default-guest.ts';
import { kernelEntry } from './kernel/build-kernel.ts';
import { rootDiskEntry } from './rootfs/root-disk-entry.ts';

/**
 * Returns the default guest after building the parts that are not cached, and records its paths for
 * `locateDefaultGuest`. The kernel takes minutes to build, the others a second each.
 * @throws Error that says what failed and where to look
 */
export async function ensureDefaultGuest(progress: BuildProgress): Promise<DefaultGuest> {
  const kernel = await ensureEntry(await kernelEntry(), progress);
  const rootfs = await ensureEntry(await rootDiskEntry(), progress);
  const agent = await ensureEntry(await agentEntry(), progress);
  const guest: DefaultGuest = {
    kernelPath: join(kernel, 'bzImage'),
    vmlinuxPath: join(kernel, 'vmlinux'),
    rootDiskPath: join(rootfs, 'rootfs.ext4'),
    agentInitrdPath: join(agent, 'initrd'),
  };
  const pointer = defaultGuestPointerPath();
  await mkdir(dirname(pointer), { recursive: true });
  // Replaced atomically, because a machine may be booting at this moment.
  replaceFile(pointer, `${JSON.stringify(guest, null, 2)}\n`, { mode: 0o644 });
  return guest;
}
