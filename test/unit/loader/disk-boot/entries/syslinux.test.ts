import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { BootMenu } from '../../../../../vmm/loader/disk-boot/entries/boot-entry.ts';
import { grubMenus } from '../../../../../vmm/loader/disk-boot/entries/grub/grub-menu.ts';
import { syslinuxMenus } from '../../../../../vmm/loader/disk-boot/entries/syslinux.ts';
import { type FakeFiles, fakeVolume } from '../../../../support/disk-boot/fake-volume.ts';
import { temporaryFolder } from '../../../../support/tsvm-process.ts';

const KERNELS = {
  ...{ 'boot/vmlinuz-6.1': 'k', 'boot/initrd-6.1': 'i', 'boot/microcode': 'm' },
  ...{ 'boot/extlinux/linux': 'k', 'boot/extlinux/initrd.gz': 'i' },
};

function menus(files: FakeFiles): { menus: BootMenu[]; problems: string[] } {
  const problems: string[] = [];
  const found = syslinuxMenus([fakeVolume({ ...KERNELS, ...files })], (each) =>
    problems.push(each),
  );
  return { menus: found, problems };
}

function menuOf(config: string, path = 'boot/extlinux/extlinux.conf', more: FakeFiles = {}) {
  const { menus: found, problems } = menus({ ...more, [path]: config });
  assert.deepEqual(problems, []);
  const [menu] = found;
  assert.ok(menu);
  return menu;
}

function entryOf(config: string, path?: string) {
  const { entries, defaultIndex } = menuOf(config, path);
  const entry = entries[defaultIndex];
  assert.ok(entry);
  return {
    ...entry,
    kernel: entry.kernel.place,
    initrds: entry.initrds.map(({ place }) => place),
  };
}

/** As Debian's u-boot-menu writes it, which follows its extlinux. */
const DEBIAN = `## /boot/extlinux/extlinux.conf
default l0r
menu title U-Boot menu
prompt 0
timeout 50

label l0
	menu label Debian GNU/Linux 12 (bookworm) 6.1
	linux /boot/vmlinuz-6.1
	initrd /boot/initrd-6.1
	fdtdir /usr/lib/linux-image-6.1/
	append root=/dev/vda1 ro quiet

label l0r
	menu label Debian GNU/Linux 12 (bookworm) 6.1 (rescue target)
	linux /boot/vmlinuz-6.1
	initrd /boot/initrd-6.1
	append root=/dev/vda1 ro single
`;

test('extlinux.conf: the default label, its kernel, initrd and parameters', () => {
  const { entries, loader, defaultIndex } = menuOf(DEBIAN);
  assert.equal(loader, 'SYSLINUX (partition 1: /boot/extlinux/extlinux.conf)');
  assert.deepEqual(
    entries.map(({ id }) => id),
    ['l0', 'l0r'],
  );
  assert.equal(defaultIndex, 1);
  const entry = entryOf(DEBIAN);
  assert.equal(entry.title, 'Debian GNU/Linux 12 (bookworm) 6.1 (rescue target)');
  assert.equal(entry.kernel, 'partition 1: /boot/vmlinuz-6.1');
  assert.deepEqual(entry.initrds, ['partition 1: /boot/initrd-6.1']);
  assert.equal(entry.commandLine, 'root=/dev/vda1 ro single');
});

test('paths are relative to the configuration’s folder, as Alpine writes them', () => {
  const entry = entryOf(
    'DEFAULT menu.c32\nLABEL virt\n MENU DEFAULT\n LINUX vmlinuz-6.1\n INITRD microcode,initrd-6.1\n APPEND root=UUID=1',
    'boot/extlinux.conf',
  );
  assert.equal(entry.kernel, 'partition 1: /boot/vmlinuz-6.1');
  assert.deepEqual(entry.initrds, [
    'partition 1: /boot/microcode',
    'partition 1: /boot/initrd-6.1',
  ]);
});

test('an initrd among the parameters, the last one', () => {
  const entry = entryOf(
    'label a\nkernel ../vmlinuz-6.1\nappend initrd=none root=/dev/vda1 initrd=../microcode,../initrd-6.1',
  );
  assert.deepEqual(entry.initrds, [
    'partition 1: /boot/microcode',
    'partition 1: /boot/initrd-6.1',
  ]);
  assert.match(entry.commandLine, /^initrd=none root=/);
});

test('parameters for all labels hold where a label has none; "-" means none', () => {
  const kernel = 'kernel /boot/vmlinuz-6.1\n';
  const { entries } = menuOf(
    `append quiet\nlabel a\n${kernel}label b\n${kernel}append -\nlabel c\n${kernel}append loud`,
  );
  assert.deepEqual(
    entries.map(({ commandLine }) => commandLine),
    ['quiet', '', 'loud'],
  );
});

test('the default: ontimeout, then default, then "menu default", then the first', () => {
  const labels = ['a', 'b', 'c', 'd']
    .map(
      (name) => `label ${name}\nlinux /boot/vmlinuz-6.1\n${name === 'b' ? 'menu default\n' : ''}`,
    )
    .join('');
  assert.equal(entryOf(`ontimeout d\ndefault c\n${labels}`).id, 'd');
  assert.equal(entryOf(`default C\n${labels}`).id, 'c');
  assert.equal(entryOf(`default vesamenu.c32\n${labels}`).id, 'b');
  assert.equal(entryOf(labels.replace('menu default\n', '')).id, 'a');
});

test('a default with parameters, and one that is a kernel and no label', () => {
  const label = 'label a\nlinux /boot/vmlinuz-6.1\nappend ro\n';
  const more = entryOf(`default a single\n${label}`);
  assert.deepEqual([more.id, more.commandLine], ['a', 'ro single']);
  const kernel = entryOf(`append quiet\ndefault /boot/vmlinuz-6.1 root=/dev/vda2\n${label}`);
  assert.equal(kernel.id, '/boot/vmlinuz-6.1');
  assert.equal(kernel.commandLine, 'quiet root=/dev/vda2');
});

test('a label without a kernel names one', () => {
  const { entries } = menuOf('label vmlinuz-6.1\nappend ro', 'boot/syslinux.cfg');
  assert.equal(entries[0]?.kernel.place, 'partition 1: /boot/vmlinuz-6.1');
});

test('labels that boot no Linux, or what is missing, are left out', () => {
  const { entries } = menuOf(
    [
      'label disk\nlocalboot 0x80',
      'label memory\nlinux /boot/memtest.bin',
      'label chain\ncom32 chain.c32\nappend hd0',
      'label old\nlinux /boot/vmlinuz-5.10',
      'label bare\nlinux /boot/vmlinuz-6.1\ninitrd /boot/initrd-5.10',
      'label good\nlinux /boot/vmlinuz-6.1',
    ].join('\n'),
  );
  assert.deepEqual(
    entries.map(({ id }) => id),
    ['good'],
  );
});

test('help texts are no settings, and the key in a title is not shown', () => {
  const entry = entryOf(
    'label a\nmenu label ^Install\nlinux /boot/vmlinuz-6.1\ntext help\nlabel b\nappend bad\nendtext\nappend ro',
  );
  assert.deepEqual([entry.id, entry.title, entry.commandLine], ['a', 'Install', 'ro']);
});

test('files that are included, by both commands', () => {
  const { entries } = menuOf('include one.cfg\nmenu include /two.cfg Title', undefined, {
    'boot/extlinux/one.cfg': 'label a\nlinux /boot/vmlinuz-6.1',
    'two.cfg': 'label b\nlinux /boot/vmlinuz-6.1',
  });
  assert.deepEqual(
    entries.map(({ id }) => id),
    ['a', 'b'],
  );
});

/** Of Debian's grub-common: GRUB's own reader of this format. */
const CONVERTER = '/usr/bin/grub-syslinux2cfg';

/** What GRUB's commands for the same configuration boot. */
function menuByGrub(config: string, folder: string): BootMenu | undefined {
  const path = join(folder, 'boot/extlinux/extlinux.conf');
  mkdirSync(join(folder, 'boot/extlinux'), { recursive: true });
  writeFileSync(path, config);
  const args = [
    '--syslinux',
    `--root=${folder}`,
    '--target-root=/',
    '--target-cwd=/boot/extlinux',
    path,
  ];
  const converted = execFileSync(CONVERTER, args, { encoding: 'utf8' });
  const volume = fakeVolume({ ...KERNELS, 'boot/grub/grub.cfg': converted });
  return grubMenus([volume], (problem) => assert.fail(problem))[0];
}

const INSTALLER = `DEFAULT install
TIMEOUT 50
LABEL install
  MENU LABEL ^Install
  MENU DEFAULT
  KERNEL linux
  APPEND vga=788 initrd=initrd.gz quiet
LABEL rescue
  MENU LABEL ^Rescue mode
  LINUX linux
  INITRD initrd.gz
  APPEND rescue/enable=true
`;

for (const [name, config] of Object.entries({ 'u-boot-menu': DEBIAN, 'an installer': INSTALLER })) {
  const skip = existsSync(CONVERTER) ? false : 'grub-syslinux2cfg (grub-common) is missing';
  test(`the configuration of ${name} boots what GRUB would boot by it`, { skip }, (t) => {
    const summary = (menu: BootMenu | undefined) => ({
      default: menu?.defaultIndex,
      entries: menu?.entries.map(({ id, title, kernel, initrds, commandLine }) => {
        return [id, title, kernel.place, ...initrds.map(({ place }) => place), commandLine];
      }),
    });
    assert.deepEqual(summary(menuOf(config)), summary(menuByGrub(config, temporaryFolder(t))));
  });
}

const HOSTILE: Readonly<Record<string, readonly [FakeFiles, RegExp | undefined]>> = {
  'includes itself': [{ 'extlinux.conf': 'include extlinux.conf' }, /includes too many files/],
  'includes itself many times': [
    {
      'extlinux.conf': 'include a',
      a: 'include b\n'.repeat(1000),
      b: 'include c\n'.repeat(1000),
      c: '',
    },
    /includes too many files/,
  ],
  'has labels without end': [
    { 'extlinux.conf': 'label a\n'.repeat(100_000) },
    /more than 512 labels/,
  ],
  'has a path out of its volume': [
    { 'extlinux.conf': 'label a\nlinux ../../../../boot/../../etc/shadow' },
    undefined,
  ],
  'has an endless line': [{ 'extlinux.conf': `label a\nlinux ${'x'.repeat(2 ** 20)}` }, undefined],
  'has initrds without end': [
    {
      'extlinux.conf': `label a\nlinux /boot/vmlinuz-6.1\ninitrd ${'/boot/microcode,'.repeat(500)}`,
    },
    undefined,
  ],
  'has a text that never ends': [
    { 'extlinux.conf': 'text help\nlabel a\nlinux /boot/vmlinuz-6.1' },
    undefined,
  ],
  'has no words': [
    { 'extlinux.conf': 'default\nlabel\nmenu\nappend\nlinux\ninclude\n' },
    undefined,
  ],
};

for (const [name, [files, problem]] of Object.entries(HOSTILE)) {
  test(`hostile: a configuration that ${name}`, () => {
    const found = menus(files);
    assert.deepEqual(found.menus, []);
    if (problem === undefined) assert.deepEqual(found.problems, []);
    else assert.match(`${found.problems}`, problem);
  });
}
