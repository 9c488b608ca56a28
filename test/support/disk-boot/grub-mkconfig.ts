/** What grub-mkconfig writes on Debian. */
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from './file-system-images.ts';

/** Folders that the system in the image borrows from this one. */
const BORROWED = ['usr', 'dev'];
const FOLDERS = [...BORROWED, 'proc', 'sys', 'tmp', 'boot/grub', 'etc/default'];
const LINKS = ['bin', 'sbin', 'lib', 'lib64'];

/** Kernels of Debian's names, each with its initrd. */
export function addKernels(root: string, versions: readonly string[]): void {
  for (const version of versions) {
    writeFileSync(join(root, `boot/vmlinuz-${version}`), 'kernel');
    writeFileSync(join(root, `boot/initrd.img-${version}`), 'initrd');
    writeFileSync(join(root, `boot/config-${version}`), '');
  }
}

/**
 * Fills a folder as the root of a system on which grub-mkconfig runs.
 * @param settings the content of /etc/default/grub
 */
export function makeGrubSystem(root: string, settings: string): void {
  for (const name of FOLDERS) mkdirSync(join(root, name), { recursive: true });
  for (const name of LINKS) symlinkSync(`usr/${name}`, join(root, name));
  for (const name of ['grub.d', 'alternatives']) {
    cpSync(`/etc/${name}`, join(root, 'etc', name), { recursive: true, verbatimSymlinks: true });
  }
  writeFileSync(join(root, 'etc/default/grub'), settings);
}

/**
 * Runs grub-mkconfig in the image of such a system. Needs root.
 * @param then a command that runs after it
 */
export function runGrubMkconfig(image: string, then = 'true'): void {
  const root = mkdtempSync(join(tmpdir(), 'tsvm-grub-'));
  // The device has another name than a loop device's, for which Debian's script writes no entries.
  // After an error the mounts disappear with their namespace.
  const script = `set -e
    loop=$(losetup --find --show '${image}')
    trap 'losetup --detach $loop' EXIT
    number=$(stat -c %Lr $loop)
    mount -t tmpfs none /dev
    mknod /dev/disk b 7 $number
    mknod /dev/null c 1 3
    mknod $loop b 7 $number
    mount /dev/disk '${root}'
    cd '${root}'
    for name in ${BORROWED.join(' ')}; do mount --bind /$name $name; done
    mount -t proc proc proc
    mount -t sysfs sys sys
    chroot . grub-mkconfig -o /boot/grub/grub.cfg
    chroot . sh -c '${then}'
    cd /
    umount --recursive '${root}'`;
  try {
    run('unshare', '--mount', 'sh', '-c', script);
  } finally {
    rmSync(root, { recursive: true });
  }
}

/** Why grub-mkconfig cannot run here; false when it can. */
export function cannotRunGrubMkconfig(): string | false {
  try {
    run('unshare', '--mount', 'grub-mkconfig', '--version');
    return process.getuid?.() === 0 ? false : 'this process is not root';
  } catch (error) {
    return `grub-mkconfig cannot run here: ${error instanceof Error ? error.message : error}`;
  }
}
