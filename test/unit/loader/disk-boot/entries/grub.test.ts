import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BootMenu } from '../../../../../vmm/loader/disk-boot/entries/boot-entry.ts';
import { grubMenus } from '../../../../../vmm/loader/disk-boot/entries/grub/grub-menu.ts';
import type { SearchedVolume } from '../../../../../vmm/loader/disk-boot/entries/searched-volume.ts';
import { type FakeFiles, fakeVolume } from '../../../../support/disk-boot/fake-volume.ts';

const KERNELS: FakeFiles = {
  'boot/vmlinuz-1': 'k1',
  'boot/initrd-1': 'i1',
  'boot/vmlinuz-2': 'k2',
  'boot/initrd-2': 'i2',
};

function menuOf(volumes: readonly SearchedVolume[]): BootMenu {
  const problems: string[] = [];
  const [menu] = grubMenus(volumes, (problem) => problems.push(problem));
  assert.ok(menu, `there is no menu: ${problems}`);
  return menu;
}

/** The menu of a configuration in /boot/grub of one volume with the kernels. */
function menu(config: string, files: FakeFiles = {}): BootMenu {
  return menuOf([fakeVolume({ ...KERNELS, 'boot/grub/grub.cfg': config, ...files })]);
}

function chosen({ entries, defaultIndex }: BootMenu) {
  const entry = entries[defaultIndex];
  assert.ok(entry);
  const { id, title, kernel, initrds, commandLine } = entry;
  return {
    id,
    title,
    kernel: kernel.place,
    initrds: initrds.map(({ place }) => place),
    commandLine,
  };
}

const TWO = `
menuentry_id_option=--id
menuentry 'Two' --class os $menuentry_id_option 'id-two' {
  linux /boot/vmlinuz-2 root=UUID=x ro
  initrd /boot/initrd-2
}
submenu 'More' $menuentry_id_option 'id-more' {
  menuentry 'Two again' --id inner-two { linux /boot/vmlinuz-2 again; initrd /boot/initrd-2; }
  menuentry 'One' --id inner-one {
    linux /boot/vmlinuz-1 root=UUID=x "with blanks" single
    initrd /boot/initrd-1 /boot/initrd-2
  }
}
menuentry 'Firmware' { fwsetup; }
menuentry 'Last' { linux /boot/vmlinuz-1 last; }
`;

test('the first entry is the default one, with its kernel, initrd and command line', () => {
  assert.deepEqual(chosen(menu(TWO)), {
    id: 'id-two',
    title: 'Two',
    kernel: 'partition 1: /boot/vmlinuz-2',
    initrds: ['partition 1: /boot/initrd-2'],
    commandLine: 'root=UUID=x ro',
  });
});

test('all entries that boot Linux are offered, those of submenus too', () => {
  const ids = menu(TWO).entries.map(({ id }) => id);
  assert.deepEqual(ids, ['id-two', 'inner-two', 'inner-one', 'Last']);
});

/** Values of `default`, and the entry that GRUB's manual says they stand for. */
const DEFAULTS: Readonly<Record<string, string>> = {
  '': 'id-two',
  '0': 'id-two',
  '3': 'Last',
  Last: 'Last',
  'id-more>inner-one': 'inner-one',
  'More>One': 'inner-one',
  '1>1': 'inner-one',
  '1': 'inner-two',
  'id-more>1': 'inner-one',
  '99': 'id-two',
  'no such entry': 'id-two',
  // It boots no Linux.
  '2': 'id-two',
};
for (const [value, id] of Object.entries(DEFAULTS)) {
  test(`default="${value}" is ${id}`, () => {
    assert.equal(chosen(menu(`set default="${value}"\n${TWO}`)).id, id);
  });
}

const ENVIRONMENT_BLOCK = (variables: string) =>
  `# GRUB Environment Block\n${variables}\n`.padEnd(1024, '#');

/** What Debian and Ubuntu write at the top of grub.cfg for GRUB_DEFAULT=saved, in our words. */
const SAVED_DEFAULT = `
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "\${next_entry}" ] ; then
  set default="\${next_entry}"; set next_entry=
  save_env next_entry
  set boot_once=true
else
  set default="\${saved_entry}"
fi
if [ x"\${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
export menuentry_id_option
`;

test('GRUB_DEFAULT=saved: the entry saved in grubenv, or the next one', () => {
  const boot = (variables: string) =>
    chosen(
      menu(SAVED_DEFAULT + TWO, {
        'boot/grub/grubenv': ENVIRONMENT_BLOCK(variables),
      }),
    ).id;
  assert.equal(boot('saved_entry=id-more>inner-one'), 'inner-one');
  assert.equal(boot('saved_entry=Last'), 'Last');
  assert.equal(boot('saved_entry=Last\nnext_entry=id-more>inner-one'), 'inner-one');
  assert.equal(boot('other=1'), 'id-two');
  assert.equal(chosen(menu(SAVED_DEFAULT + TWO)).id, 'id-two');
});

test('a separate /boot: search sets the root that the paths are relative to', () => {
  const root = fakeVolume({ 'etc/fstab': '' }, { partition: 3 });
  const boot = fakeVolume(
    {
      'vmlinuz-5.14': 'k',
      'initramfs-5.14.img': 'i',
      'grub2/grub.cfg': `
set root='hd0,gpt3'
search --no-floppy --fs-uuid --set=root --hint-bios=hd0,gpt2 --hint='hd0,gpt2' UUID-2
menuentry 'It' {
  linux ($root)/vmlinuz-5.14 root=/dev/mapper/rhel-root ro crashkernel=1G-4G:192M
  initrd ($root)/initramfs-5.14.img
}`,
    },
    { partition: 2 },
  );
  const { kernel, commandLine } = chosen(menuOf([boot, root]));
  assert.equal(kernel, 'partition 2: /vmlinuz-5.14');
  assert.equal(commandLine, 'root=/dev/mapper/rhel-root ro crashkernel=1G-4G:192M');
});

test('the stub in the EFI system partition leads to the real configuration', () => {
  const esp = fakeVolume(
    {
      'EFI/debian/grub.cfg': `search.fs_uuid uuid-2 root
set prefix=($root)'/boot/grub'
configfile $prefix/grub.cfg
`,
    },
    { partition: 1, use: 'esp', type: 'vfat' },
  );
  const root = fakeVolume({ ...KERNELS, 'boot/grub/grub.cfg': TWO }, { partition: 2 });
  const menus = grubMenus([esp, root], assert.fail);
  assert.equal(menus.length, 2);
  for (const found of menus) assert.equal(chosen(found).kernel, 'partition 2: /boot/vmlinuz-2');
});

test('search by label and by file, and hints that are wrong', () => {
  const other = fakeVolume({}, { partition: 1 });
  const named = fakeVolume({ ...KERNELS, '.disk/id': '' }, { partition: 4, label: 'SYSTEM' });
  for (const words of [
    '--label --set=root SYSTEM',
    '-l -s root SYSTEM',
    '--label --hint hd0,gpt1 --set root SYSTEM',
    '--file --set=root /.disk/id',
    '--set -f /.disk/id',
  ]) {
    const text = `search --no-floppy ${words}\nmenuentry x { linux /boot/vmlinuz-1 a; }`;
    const grub = fakeVolume({ 'grub/grub.cfg': text }, { partition: 2 });
    const { kernel } = chosen(menuOf([other, grub, named]));
    assert.equal(kernel, 'partition 4: /boot/vmlinuz-1', words);
  }
});

/** Ubuntu's cloud images first boot without an initrd, by PARTUUID; in our words. */
test('Ubuntu: the branch with the initrd, and variables that are empty', () => {
  const text = `
if [ "\${initrdfail}" = 2 ]; then
  set initrdfail=
elif [ "\${initrdfail}" = 1 ]; then
  set next_entry="\${prev_entry}"
  set prev_entry=
  save_env prev_entry
  if [ "\${next_entry}" ]; then set initrdfail=2; fi
fi
function gfxmode {
  set gfxpayload="\${1}"
  if [ "\${1}" = "keep" ]; then set vt_handoff=vt.handoff=7; else set vt_handoff=; fi
}
if [ "\${recordfail}" != 1 ]; then
  if [ -e \${prefix}/gfxblacklist.txt ]; then
    if [ \${grub_platform} != pc ]; then set linux_gfx_mode=keep; fi
  else
    set linux_gfx_mode=text
  fi
fi
export linux_gfx_mode
menuentry 'Ubuntu' $menuentry_id_option 'gnulinux-simple-x' {
  recordfail
  gfxmode $linux_gfx_mode
  search --no-floppy --fs-uuid --set=root uuid-1
  if [ "\${initrdfail}" = 1 ]; then
    echo 'GRUB_FORCE_PARTUUID set, initrdless boot failed. Attempting with initrd.'
    linux /boot/vmlinuz-1 root=LABEL=cloudimg-rootfs ro  console=tty1 console=ttyS0 $vt_handoff
    initrd /boot/initrd-1
  else
    linux /boot/vmlinuz-1 root=PARTUUID=1-2 ro console=tty1 console=ttyS0 panic=-1 $vt_handoff
  fi
  initrdfail
}`;
  const entry = chosen(menu(text));
  assert.equal(entry.commandLine, 'root=LABEL=cloudimg-rootfs ro console=tty1 console=ttyS0');
  assert.deepEqual(entry.initrds, ['partition 1: /boot/initrd-1']);
});

test('Fedora and RHEL: blscfg with variables of grubenv, the newest and the saved entry', () => {
  const files = {
    'vmlinuz-5.14.0-9': 'k',
    'initramfs-5.14.0-9.img': 'i',
    'vmlinuz-5.14.0-10': 'k',
    'initramfs-5.14.0-10.img': 'i',
    'vmlinuz-0-rescue-abc': 'k',
    'initramfs-0-rescue-abc.img': 'i',
    ...Object.fromEntries(
      ['5.14.0-9', '5.14.0-10', '0-rescue-abc'].map((version) => [
        `loader/entries/abc-${version}.conf`,
        `title Red Hat ${version}
version ${version}
linux /vmlinuz-${version}
initrd /initramfs-${version}.img $tuned_initrd
options $kernelopts $tuned_params
grub_users $grub_users
`,
      ]),
    ),
    'grub2/grub.cfg': `
set pager=1
if [ -f \${config_directory}/grubenv ]; then
  load_env -f \${config_directory}/grubenv
elif [ -s $prefix/grubenv ]; then
  load_env
fi
if [ "\${next_entry}" ] ; then set default="\${next_entry}"; else set default="\${saved_entry}"; fi
search --no-floppy --fs-uuid --set=boot uuid-1
if [ -z "\${kernelopts}" ]; then set kernelopts="root=/dev/vda3 ro "; fi
insmod blscfg
blscfg
if [ "\${boot_success}" = "1" -o "\${boot_indeterminate}" = "1" ]; then set timeout=1; fi`,
  };
  const { commandLine, kernel } = chosen(menuOf([fakeVolume(files)]));
  assert.equal(kernel, 'partition 1: /vmlinuz-5.14.0-10');
  assert.equal(commandLine.trim(), 'root=/dev/vda3 ro');
  const saved = fakeVolume({
    ...files,
    'grub2/grubenv': ENVIRONMENT_BLOCK(
      'saved_entry=abc-5.14.0-9\nkernelopts=root=LABEL=r ro quiet',
    ),
  });
  const older = chosen(menuOf([saved]));
  assert.equal(older.kernel, 'partition 1: /vmlinuz-5.14.0-9');
  assert.equal(older.commandLine.trim(), 'root=LABEL=r ro quiet');
  assert.deepEqual(
    menuOf([saved]).entries.map(({ id }) => id),
    ['abc-5.14.0-10', 'abc-5.14.0-9', 'abc-0-rescue-abc'],
  );
});

test('quotes, escapes, comments, loops and functions mean what they mean to GRUB', () => {
  const text = `
# a comment with a ' quote
set words='a  b'   # another
set joined="x\${words}y \\"quoted\\" \\$words"
for name in one two $words; do set list="$list+$name"; done
function setting {
  set from_function=$2
  true
}
setting first second
if ! [ -n "" ] && false; then set wrong=1; fi
until [ "$count" = "xxx" ]; do set count=x$count; done
menuentry "Title with 'single' quotes" {
  linux /boot/vmlinuz-1 "$joined" list=$list f=$from_function count=$count \\
    continued 'semi;colon' #comment
}`;
  const entry = chosen(menu(text));
  assert.equal(entry.title, "Title with 'single' quotes");
  assert.equal(
    entry.commandLine,
    'xa  by "quoted" $words list=+one+two+a+b f=second count=xxx continued semi;colon',
  );
});

test('an entry whose kernel or initrd is missing is not offered', () => {
  const text = `
menuentry 'no kernel' { linux /boot/vmlinuz-9; }
menuentry 'no initrd' { linux /boot/vmlinuz-1
 initrd /boot/initrd-9
}
menuentry 'elsewhere' { linux (cd0)/boot/vmlinuz-1; }
menuentry 'good' { linux /boot/vmlinuz-1 ok; }`;
  assert.deepEqual(
    menu(text).entries.map(({ title }) => title),
    ['good'],
  );
});

/** Each is a problem within a second, not a hang, a crash or much memory. */
const HOSTILE: Readonly<Record<string, string>> = {
  'an endless loop': 'while true; do set a=1; done',
  'an endless loop of nothing': 'while true; do\ndone',
  'a function that calls itself': 'function f {\n f\n}\nf',
  'functions that call each other twice': 'function f {\n g; g\n}\nfunction g {\n f; f\n}\nf',
  'a file that includes itself': 'source $prefix/grub.cfg',
  'a variable that doubles': 'set a=xxxxxxxx\nwhile true; do set a="$a$a"; done',
  'blocks without end': 'if true; then\n'.repeat(2000),
  'ends without a block': '}\n'.repeat(2000),
  'a quote without an end': "set a='",
  'evaluated text that evaluates itself': "set a='eval $a'\neval $a",
  'nested submenus': 'submenu x {\n'.repeat(100) + '}\n'.repeat(100),
  'nested conditions': `if [ ${'( '.repeat(5000)}x ]; then true; fi\nwhile true; do true; done`,
  'a menu in a loop': 'while true; do menuentry x { linux /boot/vmlinuz-1; }; done',
  'a while in every entry': `${'menuentry x { while true; do true; done; }\n'.repeat(100)}`,
  'blscfg in a loop': 'while true; do blscfg; done',
  'loops in loops': `${'for a in 1 2 3 4 5 6 7 8 9; do '.repeat(20)} true${'; done'.repeat(20)}`,
};
for (const [name, config] of Object.entries(HOSTILE)) {
  test(`hostile grub.cfg: ${name}`, () => {
    const problems: string[] = [];
    const start = performance.now();
    const volume = fakeVolume({
      ...KERNELS,
      'boot/grub/grub.cfg': config,
      'loader/entries/x.conf': 'linux /boot/vmlinuz-1\noptions $a$a$a$a',
    });
    const menus = grubMenus([volume], (problem) => problems.push(problem));
    assert.ok(performance.now() - start < 60_000, 'it takes too long');
    assert.ok(menus.length > 0 || problems.length > 0 || name === 'nested submenus');
  });
}

test('a problem names the file', () => {
  const problems: string[] = [];
  grubMenus([fakeVolume({ 'grub/grub.cfg': 'set a="' })], (problem) => problems.push(problem));
  assert.deepEqual(problems, ['partition 1: /grub/grub.cfg: a quote without an end']);
});
