/**
 * Configurations of pieces that grammars break at. Whatever they say, they make entries or problems,
 * soon. `TSVM_DISK_BOOT_FUZZ_CASES` sets how many there are, times 20; `TSVM_SEED` another seed.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { grubMenus } from '../../../../../vmm/loader/disk-boot/entries/grub/grub-menu.ts';
import { syslinuxMenus } from '../../../../../vmm/loader/disk-boot/entries/syslinux.ts';
import { systemdBootMenu } from '../../../../../vmm/loader/disk-boot/entries/systemd-boot.ts';
import { fakeVolume } from '../../../../support/disk-boot/fake-volume.ts';
import { Random, seedFrom } from '../../../../support/random.ts';

const CASES = 20 * Number(process.env['TSVM_DISK_BOOT_FUZZ_CASES'] ?? 60);
const SEED = seedFrom(process.env['TSVM_SEED'], 5);
const CASE_MS_MAX = 60_000;

const GRUB_PIECES = [
  ...['if ', 'then ', 'elif ', 'else ', 'fi\n', 'for a in 1 2 3; do ', 'while ', 'until ', 'do '],
  ...[
    'done\n',
    'function f {\n',
    'f ',
    '{ ',
    '}\n',
    '\n',
    ';',
    ' ',
    "'",
    '"',
    '\\',
    '$',
    '$\x7b',
    '}',
  ],
  ...[
    '$a',
    '"$a"',
    '$\x7broot}',
    '$1',
    '$@',
    '$?',
    '[ ',
    ' ]',
    '! ',
    '-a ',
    '-o ',
    '( ',
    ') ',
    '= ',
  ],
  ...[
    'menuentry ',
    'menuentry x --id y { ',
    'submenu ',
    'submenu z { ',
    '--id ',
    'set ',
    'a=',
    'b ',
  ],
  ...['linux /boot/vmlinuz ', 'initrd /boot/initrd ', 'search --set=root ', '--fs-uuid uuid-1\n'],
  ...['source $prefix/grub.cfg\n', 'configfile ', 'load_env ', '--file ', 'blscfg\n', 'eval '],
  ...[
    'default=',
    '0>1',
    'true ',
    'false ',
    '(hd0,gpt1)',
    '/',
    '..',
    '#',
    '\t',
    '\0',
    'é',
    '-',
    '>',
  ],
];
const BLS_PIECES = [
  ...['title ', 'version ', 'linux ', 'initrd ', 'options ', 'sort-key ', 'machine-id ', 'uki '],
  ...[
    'architecture ',
    'x64',
    '/boot/vmlinuz',
    '/boot/initrd',
    '\n',
    ' ',
    '\t',
    '#',
    '..',
    '/',
    '~',
  ],
  ...['^', '.', '-', '1', '007', 'a', '*', '?', '[', ']', '!', 'default ', '\0', 'é', '\\', '$a'],
];
const SYSLINUX_PIECES = [
  'include extlinux.conf\n',
  ...['label ', 'linux ', 'kernel ', 'initrd ', 'append ', 'default ', 'ontimeout ', 'include '],
  ...[
    'menu ',
    'menu label ',
    'menu default\n',
    'menu include ',
    'text help\n',
    'endtext\n',
    'LABEL ',
  ],
  ...[
    'com32 ',
    'localboot ',
    '/boot/vmlinuz',
    '../vmlinuz',
    '/boot/initrd',
    'initrd=',
    ',',
    '-',
    '^',
  ],
  ...['extlinux.conf', 'other.cfg', '\n', ' ', '\t', '#', '..', '/', 'a', '\0', 'é', '\\', '.c32'],
];

function compose(random: Random, pieces: readonly string[]): string {
  return Array.from({ length: random.between(1, random.pick([3, 10, 80])) }, () =>
    random.pick(pieces),
  ).join('');
}

function timed(text: string, run: () => void): void {
  const start = performance.now();
  try {
    run();
  } catch (error) {
    throw new Error(`seed ${SEED}: ${JSON.stringify(text)}`, { cause: error });
  }
  assert.ok(performance.now() - start < CASE_MS_MAX, `seed ${SEED}: ${JSON.stringify(text)}`);
}

const KERNEL = { 'boot/vmlinuz': 'k', 'boot/initrd': 'i' };

test('grub.cfg and grubenv of random pieces', () => {
  const random = new Random(SEED);
  let menus = 0;
  let problems = 0;
  for (let index = 0; index < CASES; index++) {
    const good = random.chance(0.5) ? 'menuentry v { linux /boot/vmlinuz; }\n' : '';
    const text = good + compose(random, GRUB_PIECES);
    const files = {
      ...KERNEL,
      'boot/grub/grub.cfg': text,
      'boot/grub/grubenv': `# GRUB Environment Block\n${compose(random, GRUB_PIECES)}`,
      'loader/entries/a.conf': compose(random, BLS_PIECES),
    };
    timed(text, () => {
      menus += grubMenus([fakeVolume(files)], () => problems++).length;
    });
  }
  assert.ok(menus > 0 && problems > 0, `${menus} menus, ${problems} problems`);
});

test('entries and loader.conf of random pieces', () => {
  const random = new Random(SEED);
  let menus = 0;
  for (let index = 0; index < CASES; index++) {
    const text = compose(random, BLS_PIECES);
    const files = {
      ...KERNEL,
      'loader/entries/a.conf': `${text}\nlinux /boot/vmlinuz`,
      'loader/entries/b.conf': compose(random, BLS_PIECES),
      'loader/loader.conf': compose(random, BLS_PIECES),
    };
    timed(text, () => {
      if (systemdBootMenu([fakeVolume(files, { use: 'esp' })]) !== undefined) menus++;
    });
  }
  assert.ok(menus > 0);
});

test('extlinux.conf of random pieces', () => {
  const random = new Random(SEED);
  let menus = 0;
  let problems = 0;
  for (let index = 0; index < CASES; index++) {
    const text = compose(random, SYSLINUX_PIECES);
    const files = {
      ...KERNEL,
      'boot/extlinux/extlinux.conf': random.chance(0.5)
        ? `label v\nlinux ../vmlinuz\n${text}`
        : text,
      'boot/extlinux/other.cfg': compose(random, SYSLINUX_PIECES),
      'boot/syslinux.cfg': compose(random, SYSLINUX_PIECES),
    };
    timed(text, () => {
      menus += syslinuxMenus([fakeVolume(files)], () => problems++).length;
    });
  }
  assert.ok(menus > 0 && problems > 0, `${menus} menus, ${problems} problems`);
});
