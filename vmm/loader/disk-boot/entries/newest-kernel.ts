/** Kernels by their names alone, for disks without a boot loader that is known. */
import { posix } from 'node:path';
import type { BootEntry, BootMenu } from './boot-entry.ts';
import { findFile, listNames, rootOfDirectory, type SearchedVolume } from './searched-volume.ts';
import { compareVersions } from './version-order.ts';

const FOLDERS = ['/boot', '/'];
const KERNEL = /^(vmlinuz|vmlinux|bzImage|kernel)(?:-(.+))?$/;
const KERNELS_MAX = 64;

/**
 * The kernels in `/boot` and `/`, newest first, with their initrds.
 * @throws TsvmError `invalid-disk`
 */
export function namedKernelsMenu(volumes: readonly SearchedVolume[]): BootMenu | undefined {
  const entries = volumes.flatMap((volume) =>
    FOLDERS.flatMap((folder) => kernelsIn(volume, folder, volumes)),
  );
  if (entries.length === 0) return undefined;
  entries.sort((a, b) => compareVersions(b.id, a.id));
  return { loader: 'the kernels in /boot and /', entries, isGuess: true, defaultIndex: 0 };
}

function kernelsIn(
  volume: SearchedVolume,
  folder: string,
  volumes: readonly SearchedVolume[],
): BootEntry[] {
  const names = listNames(volume, folder);
  const found: BootEntry[] = [];
  for (const name of names.filter((candidate) => KERNEL.test(candidate)).slice(0, KERNELS_MAX)) {
    const kernel = findFile(volume, posix.join(folder, name));
    if (kernel === undefined) continue;
    const [, , version] = KERNEL.exec(name) ?? [];
    const initrdName = initrdNames(version).find((candidate) => names.includes(candidate));
    const initrd = initrdName && findFile(volume, posix.join(folder, initrdName));
    found.push({
      id: name,
      title: name,
      kernel,
      initrds: initrd ? [initrd] : [],
      commandLine: rootParameters(volumes, initrd !== undefined && initrd !== ''),
    });
  }
  return found;
}

/** What distributions call the initrd of a kernel: Debian, SUSE, Fedora, Arch and Alpine. */
function initrdNames(version: string | undefined): string[] {
  const suffix = version === undefined ? '' : `-${version}`;
  return [
    `initrd.img${suffix}`,
    `initrd${suffix}`,
    `initrd${suffix}.img`,
    `initramfs${suffix}.img`,
    `initramfs${suffix}`,
  ];
}

/** `root=` for the volume that looks like a system's root. */
function rootParameters(volumes: readonly SearchedVolume[], hasInitrd: boolean): string {
  for (const volume of volumes) {
    const root = rootOfDirectory(volume, '/etc');
    if (root === undefined) continue;
    const { fileSystem, partition } = volume;
    const flags = root.subvolume === undefined ? '' : ` rootflags=subvol=${root.subvolume}`;
    // Only an initrd can find a file system by its UUID.
    const device = partition === 0 ? '/dev/vda' : `/dev/vda${partition}`;
    return `root=${hasInitrd ? `UUID=${fileSystem.uuid}` : device} ro${flags}`;
  }
  return '';
}
