/**
 * Debian 12 as a user installs it, from its disk alone: its own kernel, initrd, boot loader's
 * configuration and systemd. TSVM_DEBIAN_GUESTS=all adds the variants that take long to make and to boot.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { checkDisk } from '../../support/debian-guest/check-file-systems.ts';
import { type DebianVariant, debianImage } from '../../support/debian-guest/debian-image.ts';
import { GuestSession } from '../../support/debian-guest/guest-session.ts';
import { qemuImgOutput } from '../../support/qemu-img.ts';
import { temporaryFolder } from '../../support/tsvm-process.ts';

interface Case {
  readonly name: string;
  readonly variant: DebianVariant;
  readonly args: readonly string[];
  /** What tsvm says about the entry that it boots. */
  readonly source: RegExp;
  /** In `uname -r`. */
  readonly release: RegExp;
}

const GRUB = /as GRUB \(partition 2: \/boot\/grub\/grub.cfg\)/;
const SYSTEMD_BOOT = /as systemd-boot \(partition 1: \/loader\/loader.conf\)/;

const QUICK: Case = {
  name: 'Linux 6.1 (cloud), GRUB, ext4, 2 vCPUs',
  variant: { kernel: 'linux-image-cloud-amd64', fileSystem: 'ext4', loader: 'grub' },
  args: ['--cpus', '2', '--memory', '512M'],
  source: GRUB,
  release: /6\.1\..*cloud-amd64/,
};

const THOROUGH: readonly Case[] = [
  {
    name: 'Linux 6.1, GRUB, btrfs, 1 vCPU, 256 MiB',
    variant: { kernel: 'linux-image-amd64', fileSystem: 'btrfs', loader: 'grub' },
    args: ['--memory', '256M'],
    source: GRUB,
    release: /6\.1\..*[0-9]-amd64/,
  },
  {
    name: 'Linux 6.12 (cloud), systemd-boot, XFS, cloud-init, 8 vCPUs, 8 GiB',
    variant: {
      kernel: 'linux-image-6.12-cloud-amd64',
      fileSystem: 'xfs',
      loader: 'systemd-boot',
      extraPackages: ['cloud-init'],
    },
    args: ['--cpus', '8', '--memory', '8G', '--hostname', 'box', '--password', 'debian'],
    source: SYSTEMD_BOOT,
    release: /6\.12\..*cloud-amd64/,
  },
  {
    name: 'Linux 6.12, systemd-boot, ext4, PCI',
    variant: { kernel: 'linux-image-6.12-amd64', fileSystem: 'ext4', loader: 'systemd-boot' },
    args: ['--cpus', '2', '--memory', '1G', '--transport', 'pci'],
    source: SYSTEMD_BOOT,
    release: /6\.12\..*[0-9]-amd64/,
  },
  {
    name: 'Linux 6.1 (rt), GRUB, ext4',
    variant: { kernel: 'linux-image-rt-amd64', fileSystem: 'ext4', loader: 'grub' },
    args: ['--cpus', '2', '--memory', '1G'],
    source: GRUB,
    release: /6\.1\..*rt-amd64/,
  },
];

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

/** A server of one connection; perl-base is in each Debian. A word of two parts is not in its own echo. */
const SERVER = `perl -MIO::Socket::INET -e '
  my $s = IO::Socket::INET->new(LocalPort => 8080, Listen => 1, ReuseAddr => 1) or die;
  $| = 1; print "serv" . "ing\\n"; my $c = $s->accept; print $c "guest: " . <$c>;'`.replaceAll(
  '\n',
  ' ',
);

async function checkNetwork(guest: GuestSession, port: number): Promise<void> {
  const addresses = await guest.run('networkctl --no-legend | cat; ip -4 -brief address show up');
  assert.match(addresses, /eth0|enp|ens/);
  guest.type(`${SERVER}\n`);
  await guest.expect(/^serving$/m);
  const socket = connect(port, '127.0.0.1').setEncoding('utf8');
  socket.write('hello\n');
  let answer = '';
  for await (const text of socket) answer += text;
  assert.equal(answer, 'guest: hello\n');
  await guest.expect(/# $/);
}

async function checkRunning(guest: GuestSession): Promise<void> {
  const state = await guest.run(
    'systemctl is-system-running --wait; systemctl --failed --no-legend',
  );
  assert.match(state, /^running$/m, state);
}

async function powerOff(guest: GuestSession): Promise<void> {
  guest.type('poweroff\n');
  assert.equal(await guest.ended(), 0, guest.stderr);
}

async function liveThrough(
  t: TestContext,
  { variant, args, source, release }: Case,
): Promise<void> {
  const image = debianImage(variant);
  if ('missing' in image) {
    t.skip(image.missing);
    return;
  }
  const folder = temporaryFolder(t);
  const disk = join(folder, 'debian.qcow2');
  await qemuImgOutput('create', '-q', '-f', 'qcow2', '-b', image.path, '-F', 'qcow2', disk);
  const port = await freePort();
  const common = ['--disk', `${disk},backing=allow`, ...args];
  const net = ['--net', `user,hostfwd=${port}:8080`];

  const first = new GuestSession(t, [...common, ...net, '--on-reboot', 'restart']);
  const messages = await first.logIn();
  assert.match(first.stderr, source);
  const complaint = /^.*(BUG:|WARNING: CPU|Oops|stall on|Call Trace|I\/O error).*$/m.exec(messages);
  assert.equal(complaint?.[0], undefined);
  assert.match(await first.run('uname -r'), release);
  await checkRunning(first);
  await checkNetwork(first, port);
  first.type('reboot\n');
  await first.logIn();
  await checkRunning(first);
  await first.run('echo kept >/root/kept; sync');
  // Writes are in flight when the process is killed.
  first.type('while :; do cp -r /etc /root/load; rm -r /root/load; echo "cop"ied; done\n');
  await first.expect(/^copied\ncopied$/m);
  await first.kill();

  // With its network: cloud-init's services wait for one.
  const second = new GuestSession(t, [...common, ...net]);
  await second.logIn();
  // Services write to the console, too, between the lines of a command.
  const files = await second.run('cat /root/kept; ls -d /boot/efi/marker');
  assert.match(files, /^kept$/m);
  assert.match(files, /^\/boot\/efi\/marker$/m);
  await checkRunning(second);
  await powerOff(second);
  await checkDisk(disk, variant.fileSystem, folder);
}

const cases = process.env['TSVM_DEBIAN_GUESTS'] === 'all' ? [QUICK, ...THOROUGH] : [QUICK];
for (const each of cases) {
  test(`a disk with Debian 12: ${each.name}`, (t) => liveThrough(t, each));
}
