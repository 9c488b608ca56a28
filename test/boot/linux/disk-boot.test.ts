/** Machines that boot the kernel on their disk: Debian's, from GRUB's configuration and a UKI. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { packageRoot } from '../../../vmm/util/package-root.ts';
import { ext4Image, fatImage, gptDisk } from '../../support/disk-boot/partitioned-disk.ts';
import { makeUki } from '../../support/disk-boot/uki-maker.ts';
import { compileGuestProgram, initrdOf } from '../../support/initrd.ts';
import { qemuImgOutput } from '../../support/qemu-img.ts';
import { stockKernel } from '../../support/stock-kernels.ts';
import { runTsvm, temporaryFolder } from '../../support/tsvm-process.ts';

const UUID = '01234567-89ab-cdef-0123-456789abcdef';
const SOURCE = join(packageRoot(), 'test/support/guest-programs/say_cmdline.c');
const BOOT_TIMEOUT_MS = 300_000;

function bootFiles(t: TestContext): { folder: string; kernel: string; initrd: string } | undefined {
  const stock = stockKernel('6.1', 'cloud');
  if ('missing' in stock) {
    t.skip(stock.missing);
    return undefined;
  }
  const folder = temporaryFolder(t);
  const program = join(folder, 'init');
  compileGuestProgram(program, [SOURCE]);
  const initrd = join(folder, 'initrd.img');
  writeFileSync(initrd, initrdOf(program));
  return { folder, kernel: stock.kernelPath, initrd };
}

async function bootDisk(disk: string): Promise<{ cmdline: string; stderr: string }> {
  const args = ['boot', '--disk', disk, '--memory', '256M', '--console', 'stdio'];
  const { stdout, stderr, code } = await runTsvm(args, { timeoutMs: BOOT_TIMEOUT_MS });
  assert.equal(code, 0, stderr + stdout.slice(-2000));
  const [, cmdline = ''] = /CMDLINE\[(.*?)\s*\]/.exec(stdout) ?? [];
  return { cmdline, stderr };
}

test('--disk alone: GRUB, /boot in ext4 on a GPT disk in qcow2', async (t) => {
  const files = bootFiles(t);
  if (files === undefined) return;
  const { folder, kernel, initrd } = files;
  const boot = join(folder, 'root/boot');
  mkdirSync(join(boot, 'grub'), { recursive: true });
  copyFileSync(kernel, join(boot, 'vmlinuz-6.1.0-1-amd64'));
  copyFileSync(initrd, join(boot, 'initrd.img-6.1.0-1-amd64'));
  writeFileSync(
    join(boot, 'grub/grub.cfg'),
    `menuentry 'Debian GNU/Linux' {
      search --no-floppy --fs-uuid --set=root ${UUID}
      linux /boot/vmlinuz-6.1.0-1-amd64 root=UUID=${UUID} ro quiet
      initrd /boot/initrd.img-6.1.0-1-amd64
    }`,
  );
  const image = ext4Image(join(folder, 'ext4'), 40, join(folder, 'root'), UUID);
  const raw = gptDisk(join(folder, 'disk.raw'), [{ image, sizeMib: 40 }]);
  const disk = join(folder, 'debian.qcow2');
  await qemuImgOutput('convert', '-f', 'raw', '-O', 'qcow2', '-c', raw, disk);
  const { cmdline, stderr } = await bootDisk(disk);
  assert.equal(cmdline, `panic=-1 root=UUID=${UUID} ro quiet console=ttyS0,115200n8r`);
  assert.match(stderr, /booting "Debian GNU\/Linux" of .*debian.qcow2, as GRUB .*console=ttyS0/);
});

test('--disk alone: a unified kernel image in the EFI system partition', async (t) => {
  const files = bootFiles(t);
  if (files === undefined) return;
  const { folder, kernel, initrd } = files;
  const efi = join(folder, 'esp/EFI/Linux');
  mkdirSync(efi, { recursive: true });
  makeUki(join(efi, 'debian-6.1.efi'), {
    linux: kernel,
    initrd,
    cmdline: 'root=LABEL=root rw console=ttyS0',
  });
  const image = fatImage(join(folder, 'fat'), 40, join(folder, 'esp'));
  const disk = gptDisk(join(folder, 'disk.img'), [{ image, sizeMib: 40, type: 'ef00' }]);
  const { cmdline, stderr } = await bootDisk(disk);
  assert.equal(cmdline, 'panic=-1 root=LABEL=root rw console=ttyS0');
  assert.doesNotMatch(stderr, /adding console/);
});
