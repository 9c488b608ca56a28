import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { BootMenu } from '../../../../../vmm/loader/disk-boot/entries/boot-entry.ts';
import { namedKernelsMenu } from '../../../../../vmm/loader/disk-boot/entries/newest-kernel.ts';
import { systemdBootMenu } from '../../../../../vmm/loader/disk-boot/entries/systemd-boot.ts';
import { findUkis } from '../../../../../vmm/loader/disk-boot/entries/uki.ts';
import { compareVersions } from '../../../../../vmm/loader/disk-boot/entries/version-order.ts';
import { matchesWildcard } from '../../../../../vmm/loader/disk-boot/entries/wildcard.ts';
import { type FakeFiles, fakeVolume } from '../../../../support/disk-boot/fake-volume.ts';
import { makeUki } from '../../../../support/disk-boot/uki-maker.ts';
import { temporaryFolder } from '../../../../support/tsvm-process.ts';

const ESP = { use: 'esp', type: 'vfat' } as const;

function entryFile(version: string, more = ''): FakeFiles {
  return {
    [`linux-${version}`]: 'k',
    [`initrd-${version}`]: 'i',
    [`loader/entries/debian-${version}.conf`]: `# made by kernel-install
title      Debian GNU/Linux 12
version    ${version}
machine-id 0123456789abcdef
sort-key   debian
options    root=UUID=x ro
options    quiet
linux      /linux-${version}
initrd     /initrd-${version}
${more}`,
  };
}

function ids({ entries }: BootMenu): string[] {
  return entries.map(({ id }) => id);
}

function menuOf(files: FakeFiles): BootMenu {
  const menu = systemdBootMenu([fakeVolume(files, ESP)]);
  assert.ok(menu);
  return menu;
}

test('systemd-boot: an entry with its kernel, initrd and options', () => {
  const { entries, defaultIndex } = menuOf(entryFile('6.1.0-9'));
  assert.equal(defaultIndex, 0);
  const [entry] = entries;
  assert.equal(entry?.title, 'Debian GNU/Linux 12');
  assert.equal(entry?.kernel.place, 'partition 1: /linux-6.1.0-9');
  assert.deepEqual(
    entry?.initrds.map(({ place }) => place),
    ['partition 1: /initrd-6.1.0-9'],
  );
  assert.equal(entry?.commandLine, 'root=UUID=x ro quiet');
});

test('systemd-boot: the newest first, those that failed last, those without a sort key after others', () => {
  const failed = Object.entries(entryFile('7.0')).map(([path, content]) => [
    path.replace('.conf', '+0-3.conf'),
    content,
  ]);
  const files = {
    ...entryFile('6.1.0-9'),
    ...entryFile('6.1.0-10'),
    ...Object.fromEntries(failed),
    'loader/entries/zz.conf': 'linux /linux-6.1.0-9',
  };
  assert.deepEqual(ids(menuOf(files)), ['debian-6.1.0-10', 'debian-6.1.0-9', 'zz', 'debian-7.0']);
});

test('systemd-boot: the default of loader.conf, by name, suffix and pattern', () => {
  const files = { ...entryFile('6.1.0-9'), ...entryFile('6.1.0-10') };
  const chosen = (value: string) => {
    const menu = menuOf({ ...files, 'loader/loader.conf': `timeout 3\ndefault ${value}\n` });
    return menu.entries[menu.defaultIndex]?.id;
  };
  for (const value of ['debian-6.1.0-9', 'debian-6.1.0-9.conf', 'debian-6.1.0-9*', '*-9.conf']) {
    assert.equal(chosen(value), 'debian-6.1.0-9', value);
  }
  for (const value of ['debian-*', '@saved', 'nothing', '']) {
    assert.equal(chosen(value), 'debian-6.1.0-10', value);
  }
});

test('systemd-boot: entries of other architectures and without their files are not offered', () => {
  const files = {
    ...entryFile('1', 'architecture aa64'),
    ...entryFile('2', 'architecture x64'),
    'loader/entries/gone.conf': 'linux /gone',
    'loader/entries/no-initrd.conf': 'linux /linux-2\ninitrd /gone',
    'loader/entries/climbs.conf': 'linux /../../../../etc/passwd',
    'loader/entries/none.conf': 'title nothing',
  };
  assert.deepEqual(ids(menuOf(files)), ['debian-2']);
});

test('a unified kernel image that objcopy made: its sections, release and order', (context) => {
  const folder = temporaryFolder(context);
  const file = (name: string, content: string) => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  const image = (name: string, uname: string) => {
    makeUki(join(folder, name), {
      linux: file('linux', `the kernel ${uname}`),
      initrd: file('initrd', 'the initrd'),
      cmdline: 'root=LABEL=x  ro\n',
      osrel: 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12"\nVERSION_ID=\'12\'\n',
      uname,
    });
    return readFileSync(join(folder, name));
  };
  mkdirSync(folder, { recursive: true });
  const volume = fakeVolume(
    {
      'EFI/Linux/old.efi': image('old', '6.1.0-9'),
      'EFI/Linux/new+3.efi': image('new', '6.1.0-10'),
      'EFI/Linux/failed+0-3.EFI': image('failed', '6.9'),
      'EFI/Linux/no-kernel.efi': 'MZ',
    },
    ESP,
  );
  const menu = systemdBootMenu([volume]);
  assert.ok(menu);
  assert.deepEqual(ids(menu), ['new', 'old', 'failed']);
  const [entry] = menu.entries;
  assert.equal(entry?.title, 'Debian GNU/Linux 12');
  assert.equal(entry?.commandLine, 'root=LABEL=x ro');
  const content = entry?.kernel.read(0, entry.kernel.sizeBytes) ?? new Uint8Array(0);
  assert.equal(Buffer.from(content).toString().replace(/\0+$/, ''), 'the kernel 6.1.0-10');
  const initrd = entry?.initrds[0];
  assert.equal(Buffer.from(initrd?.read(0, 10) ?? []).toString(), 'the initrd');
});

test('hostile unified kernel images: no field makes more than no entry', (context) => {
  const folder = temporaryFolder(context);
  writeFileSync(join(folder, 'linux'), 'k');
  makeUki(join(folder, 'uki'), { linux: join(folder, 'linux'), cmdline: 'x' });
  const bytes = readFileSync(join(folder, 'uki'));
  const start = bytes.readUInt32LE(0x3c);
  for (let at = 0x3c; at < Math.min(bytes.length - 4, start + 600); at += 2) {
    for (const value of [0, 1, 0x7fffffff, 0xffffffff]) {
      const hostile = Buffer.from(bytes);
      hostile.writeUInt32LE(value, at);
      for (const entry of findUkis(fakeVolume({ 'EFI/Linux/x.efi': hostile }, ESP))) {
        assert.ok(entry.kernel.sizeBytes <= hostile.length);
      }
    }
  }
  for (let length = 0; length < start + 300; length += 7) {
    findUkis(fakeVolume({ 'EFI/Linux/x.efi': bytes.subarray(0, length) }, ESP));
  }
});

test('hostile entries: endless lines, keys and values take no time', () => {
  const start = performance.now();
  const spaces = ' '.repeat(500_000);
  for (const text of [
    `title${spaces}x${spaces}\nlinux /k`,
    `${'options x\n'.repeat(200_000)}linux /k`,
    `${'initrd /k\n'.repeat(20_000)}linux /k`,
    `version ${'1.'.repeat(4000)}\nlinux /k`,
    `default ${'*a'.repeat(4000)}`,
    '\0\uffff'.repeat(100_000),
  ]) {
    systemdBootMenu([
      fakeVolume(
        {
          k: '',
          'loader/entries/a.conf': text,
          'loader/entries/b.conf': text,
          'loader/loader.conf': text,
        },
        ESP,
      ),
    ]);
  }
  assert.ok(performance.now() - start < 60_000);
});

test('kernels by name: the newest with its initrd, and the root that has /etc', () => {
  const boot = fakeVolume(
    {
      'vmlinuz-6.1.0-9-amd64': 'k',
      'initrd.img-6.1.0-9-amd64': 'i',
      'vmlinuz-6.1.0-10-amd64': 'k',
      'initrd.img-6.1.0-10-amd64': 'i',
      'config-6.9': '',
      'initrd.img-6.9': '',
    },
    { partition: 1 },
  );
  const root = fakeVolume({ 'etc/fstab': '' }, { partition: 2, uuid: 'abc' });
  const menu = namedKernelsMenu([boot, root]);
  assert.ok(menu);
  assert.deepEqual(ids(menu), ['vmlinuz-6.1.0-10-amd64', 'vmlinuz-6.1.0-9-amd64']);
  const [entry] = menu.entries;
  assert.deepEqual(
    entry?.initrds.map(({ place }) => place),
    ['partition 1: /initrd.img-6.1.0-10-amd64'],
  );
  assert.equal(entry?.commandLine, 'root=UUID=abc ro');
});

test('kernels by name: without an initrd the root is a device', () => {
  const entry = namedKernelsMenu([
    fakeVolume({ 'boot/vmlinuz': 'k', 'etc/x': '' }, { partition: 3 }),
  ])?.entries[0];
  assert.equal(entry?.commandLine, 'root=/dev/vda3 ro');
});

for (const [name, initrd] of [
  ['vmlinuz-linux', 'initramfs-linux.img'],
  ['vmlinuz-virt', 'initramfs-virt'],
  ['vmlinuz-6.4.0-150600.21-default', 'initrd-6.4.0-150600.21-default'],
  ['vmlinuz-5.14.0-503.el9.x86_64', 'initramfs-5.14.0-503.el9.x86_64.img'],
] as const) {
  test(`kernels by name: ${name} has ${initrd}`, () => {
    const menu = namedKernelsMenu([fakeVolume({ [`boot/${name}`]: 'k', [`boot/${initrd}`]: 'i' })]);
    assert.equal(menu?.entries[0]?.initrds[0]?.place, `partition 1: /boot/${initrd}`);
  });
}

test('versions are ordered as the Version Format Specification has it in its examples', () => {
  // Each is older than the next.
  const ordered = [
    '122.1',
    '123~rc1-1',
    '123',
    '123-a',
    '123-a.1',
    '123-1',
    '123-1.1',
    '123^post1',
    '123.a-1',
    '123.1-1',
    '123a-1',
    '124-1',
  ];
  for (const [index, older] of ordered.entries()) {
    assert.equal(compareVersions(older, older), 0);
    for (const newer of ordered.slice(index + 1)) {
      assert.ok(compareVersions(older, newer) < 0, `${older} < ${newer}`);
      assert.ok(compareVersions(newer, older) > 0, `${newer} > ${older}`);
    }
  }
  assert.ok(compareVersions('6.1.0-9-amd64', '6.1.0-10-amd64') < 0);
  assert.equal(compareVersions('1.007', '1.7'), 0);
  assert.ok(compareVersions('9'.repeat(5000), `1${'0'.repeat(5000)}`) < 0);
});

test('patterns match as fnmatch does, in time', () => {
  const cases: [name: string, pattern: string, matches: boolean][] = [
    ['abc', 'abc', true],
    ['abc', 'a*', true],
    ['abc', '*c', true],
    ['abc', 'a?c', true],
    ['abc', 'a[a-c]c', true],
    ['abc', 'a[!b]c', false],
    ['abc', 'b*', false],
    ['', '*', true],
    ['a', '', false],
    ['a[', 'a[', true],
  ];
  for (const [name, pattern, matches] of cases) {
    assert.equal(matchesWildcard(name, pattern), matches, `${name} ${pattern}`);
  }
  const start = performance.now();
  matchesWildcard('a'.repeat(2000), `${'*a'.repeat(1000)}b`);
  assert.ok(performance.now() - start < 60_000);
});
