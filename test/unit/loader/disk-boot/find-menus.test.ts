import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { chooseEntry, listEntries } from '../../../../vmm/loader/disk-boot/disk-kernel.ts';
import { searchDisk } from '../../../../vmm/loader/disk-boot/find-menus.ts';
import {
  bytesDisk,
  emptyImage,
  fileDisk,
  run,
} from '../../../support/disk-boot/file-system-images.ts';
import {
  addKernels,
  cannotRunGrubMkconfig,
  makeGrubSystem,
  runGrubMkconfig,
} from '../../../support/disk-boot/grub-mkconfig.ts';
import { ext4Image, fatImage, gptDisk } from '../../../support/disk-boot/partitioned-disk.ts';
import { temporaryFolder } from '../../../support/tsvm-process.ts';

const UUID = '01234567-89ab-cdef-0123-456789abcdef';
const VERSIONS = ['6.1.0-9-amd64', '6.1.0-10-amd64'];
const skip = cannotRunGrubMkconfig();

function grubDisk(context: TestContext, settings: string, then?: string): string {
  const folder = temporaryFolder(context);
  const root = join(folder, 'root');
  makeGrubSystem(root, `GRUB_DISTRIBUTOR=Debian\nGRUB_DISABLE_OS_PROBER=true\n${settings}`);
  addKernels(root, VERSIONS);
  const image = ext4Image(join(folder, 'ext4'), 24, root, UUID);
  runGrubMkconfig(image, then);
  return gptDisk(join(folder, 'disk'), [{ image, sizeMib: 24 }]);
}

test('grub-mkconfig: its default entry and all others', { skip }, (context) => {
  const disk = grubDisk(context, 'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT="quiet splash"\n');
  const search = searchDisk(fileDisk(context, disk));
  const { entry, loader } = chooseEntry(search, 'disk');
  assert.equal(loader, 'GRUB (partition 1: /boot/grub/grub.cfg)');
  assert.equal(entry.title, 'Debian GNU/Linux');
  assert.equal(entry.kernel.place, 'partition 1: /boot/vmlinuz-6.1.0-10-amd64');
  assert.equal(entry.initrds[0]?.place, 'partition 1: /boot/initrd.img-6.1.0-10-amd64');
  assert.match(entry.commandLine, /^root=\S+ ro quiet splash$/);
  const lines = listEntries(search).map((listed) => listed.entry.commandLine);
  assert.equal(lines.filter((line) => / ro single$/.test(line)).length, 2, 'recovery modes');
  assert.deepEqual(search.problems, []);
});

test('grub-mkconfig: GRUB_DEFAULT=saved with an entry that grub-set-default saved', {
  skip,
}, (context) => {
  const editing = 'grub-editenv /boot/grub/grubenv set saved_entry="1>2"';
  const disk = grubDisk(context, 'GRUB_DEFAULT=saved\n', editing);
  const { entry } = chooseEntry(searchDisk(fileDisk(context, disk)), 'disk');
  assert.equal(entry.title, 'Debian GNU/Linux, with Linux 6.1.0-9-amd64');
});

test('grub-mkconfig: GRUB_DEFAULT with the title of an entry in a submenu', { skip }, (context) => {
  const title = 'Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux 6.1.0-9-amd64';
  const disk = grubDisk(context, `GRUB_DEFAULT="${title}"\n`);
  const search = searchDisk(fileDisk(context, disk));
  const { entry } = chooseEntry(search, 'disk');
  assert.equal(entry.kernel.place, 'partition 1: /boot/vmlinuz-6.1.0-9-amd64');
  // By its title, although it boots the same as the simple entry of the newest kernel.
  const other = chooseEntry(search, 'disk', 'Debian GNU/Linux, with Linux 6.1.0-10-amd64');
  assert.equal(other.entry.kernel.place, 'partition 1: /boot/vmlinuz-6.1.0-10-amd64');
});

interface Files {
  readonly [path: string]: string;
}

function writeTree(root: string, files: Files): string {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(root, path, '..'), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  return root;
}

const GRUB_CONFIG =
  "menuentry 'By GRUB' { linux /boot/vmlinuz-1 grub; initrd /boot/initrd.img-1; }";
const BLS_ENTRY = 'title By BLS\nlinux /boot/vmlinuz-1\noptions bls\n';

function twoPartitions(context: TestContext, esp: Files, root: Files) {
  const folder = temporaryFolder(context);
  const espTree = writeTree(join(folder, 'esp'), { 'EFI/empty': '', ...esp });
  const rootTree = writeTree(join(folder, 'root'), root);
  const disk = gptDisk(join(folder, 'disk'), [
    { image: fatImage(join(folder, 'fat'), 8, espTree), sizeMib: 8, type: 'ef00' },
    { image: ext4Image(join(folder, 'ext4'), 8, rootTree, UUID), sizeMib: 8 },
  ]);
  return searchDisk(fileDisk(context, disk));
}

const ROOT: Files = { 'boot/vmlinuz-1': 'k', 'boot/initrd.img-1': 'i', 'etc/fstab': '' };
const ESP_ENTRY: Files = {
  linux: 'k',
  'loader/entries/x.conf': 'title By systemd-boot\nlinux /linux\noptions sd',
};

test('the order of boot loaders', (context) => {
  const chosen = (esp: Files, root: Files) =>
    chooseEntry(twoPartitions(context, esp, { ...ROOT, ...root }), 'disk').entry.commandLine;
  const grub = { 'boot/grub/grub.cfg': GRUB_CONFIG };
  const program = { 'EFI/systemd/systemd-bootx64.efi': 'MZ' };
  assert.equal(chosen({ ...ESP_ENTRY, ...program }, grub), 'sd');
  assert.equal(chosen(ESP_ENTRY, grub), 'grub');
  const extlinux = {
    'boot/extlinux/extlinux.conf':
      'label a\nlinux ../vmlinuz-1\ninitrd ../initrd.img-1\nappend ext',
  };
  assert.equal(chosen(ESP_ENTRY, { ...grub, ...extlinux }), 'grub');
  assert.equal(chosen(ESP_ENTRY, extlinux), 'ext');
  assert.equal(
    chosen({ 'syslinux.cfg': 'default linux ro\nappend fat', linux: 'k' }, {}),
    'fat ro',
  );
  assert.equal(chosen(ESP_ENTRY, { 'boot/loader/entries/y.conf': BLS_ENTRY }), 'sd');
  assert.equal(chosen({}, { 'boot/loader/entries/y.conf': BLS_ENTRY }), 'bls');
  assert.equal(chosen({}, {}), `root=UUID=${UUID} ro`);
  assert.equal(chosen({}, { 'boot/grub/grub.cfg': 'set a="' }), `root=UUID=${UUID} ro`);
});

test('no kernel: one sentence with what was searched and what could not be', (context) => {
  const folder = temporaryFolder(context);
  const tree = writeTree(join(folder, 'tree'), { 'data/file': '' });
  const luks = emptyImage(join(folder, 'luks'), 1);
  writeFileSync(luks, 'LUKS\xba\xbe\0\x02', 'latin1');
  run('truncate', '-s', '1M', luks);
  const lvm = emptyImage(join(folder, 'lvm'), 1);
  writeFileSync(lvm, `${'\0'.repeat(512)}LABELONE${'\0'.repeat(16)}LVM2 001`, 'latin1');
  run('truncate', '-s', '1M', lvm);
  const disk = gptDisk(join(folder, 'disk'), [
    { image: ext4Image(join(folder, 'ext4'), 8, tree), sizeMib: 8 },
    { image: luks, sizeMib: 1 },
    { image: lvm, sizeMib: 1 },
  ]);
  assert.throws(() => chooseEntry(searchDisk(fileDisk(context, disk)), 'a.img'), {
    code: 'no-kernel-on-disk',
    message:
      /^no kernel was found on a.img: give one with --kernel .*grub.cfg.*: partition 1 \(ext4\); not read: partition 2: LUKS .*; partition 3: LVM, which tsvm does not read$/,
  });
});

test('a kernel that several links lead to is listed once', (context) => {
  const folder = temporaryFolder(context);
  const tree = writeTree(join(folder, 'tree'), ROOT);
  symlinkSync('boot/vmlinuz-1', join(tree, 'vmlinuz'));
  symlinkSync('vmlinuz-1', join(tree, 'boot/vmlinuz'));
  const search = searchDisk(fileDisk(context, ext4Image(join(folder, 'disk'), 8, tree)));
  assert.deepEqual(
    listEntries(search).map(({ entry }) => entry.id),
    ['vmlinuz-1'],
  );
});

test('an unknown entry: the error lists those that there are', (context) => {
  const search = twoPartitions(context, ESP_ENTRY, ROOT);
  assert.throws(() => chooseEntry(search, 'a.img', 'y'), /no boot entry "y".*"x", "vmlinuz-1"/);
});

test('an empty disk, and one of no size, have nothing', () => {
  for (const size of [0, 1, 512, 4096, 2 ** 20]) {
    const search = searchDisk(bytesDisk(new Uint8Array(size)));
    assert.deepEqual(search.menus, []);
    assert.equal(search.mayBeRoot, true);
  }
});

test('an old file system under a new partition table is not searched', (context) => {
  const folder = temporaryFolder(context);
  const tree = writeTree(join(folder, 'tree'), ROOT);
  const partition = readFileSync(ext4Image(join(folder, 'new'), 8, tree, UUID));
  const disk = readFileSync(ext4Image(join(folder, 'old'), 16, tree));
  // The partition begins at 1 MiB, behind the old superblock.
  partition.copy(disk, 2 ** 20);
  disk.writeUInt16LE(0xaa55, 510);
  disk.writeUInt8(0x83, 0x1be + 4);
  disk.writeUInt32LE(2048, 0x1be + 8);
  disk.writeUInt32LE(8 * 2048, 0x1be + 12);
  const { searched } = searchDisk(bytesDisk(disk));
  assert.deepEqual(searched, ['partition 1 (ext4)']);
});

test('a damaged file system hides no other', (context) => {
  const folder = temporaryFolder(context);
  const good = writeTree(join(folder, 'good'), ROOT);
  const bad = ext4Image(join(folder, 'bad'), 8, good);
  // s_log_block_size.
  run('sh', '-c', `printf '\\377' | dd of='${bad}' bs=1 seek=1048 conv=notrunc status=none`);
  const image = ext4Image(join(folder, 'ext4'), 8, good, UUID);
  const disk = gptDisk(join(folder, 'disk'), [
    { image: bad, sizeMib: 8 },
    { image, sizeMib: 8 },
  ]);
  const search = searchDisk(fileDisk(context, disk));
  assert.equal(chooseEntry(search, 'disk').entry.kernel.place, 'partition 2: /boot/vmlinuz-1');
  assert.match(search.problems.join(), /partition 1: ext4 superblock: blocks of 2\^265 bytes/);
});
