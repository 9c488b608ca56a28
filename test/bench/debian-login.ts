import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { once } from '../../vmm/util/once.ts';
import { extractRoot } from '../support/debian-guest/check-file-systems.ts';
import { debianImage } from '../support/debian-guest/debian-image.ts';
import type { Benchmark, Contestant } from './benchmark.ts';
import { tcgCommand, timeBoot, tsvmCommand } from './linux-speed.ts';
import { type Command, runUntil } from './process.ts';
import type { Workbench } from './workbench.ts';

const LOGIN = 'debian login: ';
/** The first output of /init in initrds made by initramfs-tools. */
const INITRD_INIT = 'Loading, please wait...';
const MEMORY_MIB = 512;
const CPUS = 2;

interface Guest {
  readonly disk: string;
  readonly kernel: string;
  readonly initrd: string;
}

/** The disk, and the kernel and the initrd that are on it. */
async function makeGuest({ root }: Workbench): Promise<Guest> {
  const image = debianImage({
    kernel: 'linux-image-cloud-amd64',
    fileSystem: 'ext4',
    loader: 'grub',
  });
  if ('missing' in image) throw new Error(image.missing);
  const folder = join(root, 'build/bench/debian-login');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const partition = await extractRoot(image.path, folder);
  execFileSync('debugfs', ['-R', `rdump /boot ${folder}`, partition], { stdio: 'ignore' });
  rmSync(partition);
  const file = (start: string): string => {
    const name = readdirSync(join(folder, 'boot')).find((each) => each.startsWith(start));
    if (name === undefined) throw new Error(`${start} is missing in /boot of ${image.path}`);
    return join(folder, 'boot', name);
  };
  return { disk: image.path, kernel: file('vmlinuz-'), initrd: file('initrd.img-') };
}

/**
 * From exec to the login prompt of Debian 12 with systemd. QEMU's translator is given the kernel and the
 * initrd, so that neither its firmware nor GRUB takes time; tsvm finds them on the disk.
 */
export function debianLoginBenchmark(workbench: Workbench): Benchmark {
  const guest = once(() => makeGuest(workbench));
  const login = (name: string, command: (guest: Guest) => Command): Contestant => ({
    name,
    sample: async () => {
      const words = command(await guest());
      const startMs = performance.now();
      return runUntil(words, LOGIN, () => (performance.now() - startMs) / 1000);
    },
  });
  return {
    name: 'exec to the login prompt of Debian 12',
    unit: 's',
    slow: true,
    contestants: [
      login('tsvm', ({ disk }) => [
        ...([workbench.tsvm, 'boot', '--disk', `${disk},overlay`, '--console', 'stdio'] as const),
        ...['--memory', `${MEMORY_MIB}M`, '--cpus', `${CPUS}`],
      ]),
      login('qemu q35 (TCG)', ({ disk, kernel, initrd }) => [
        ...(['qemu-system-x86_64', '-accel', 'tcg', '-machine', 'q35', '-cpu', 'max'] as const),
        ...['-m', `${MEMORY_MIB}`, '-smp', `${CPUS}`, '-display', 'none', '-serial', 'stdio'],
        ...['-nic', 'none', '-no-reboot', '-kernel', kernel, '-initrd', initrd],
        ...['-drive', `file=${disk},format=qcow2,if=virtio,snapshot=on`],
        ...['-append', 'root=LABEL=root ro console=ttyS0'],
      ]),
    ],
    comparisons: [{ of: 'tsvm', against: 'qemu q35 (TCG)', as: 'ratio', atMost: 0.5 }],
  };
}

/** From exec to /init of Debian's own initrd, with Debian's cloud kernel. */
export function debianInitrdBenchmark(workbench: Workbench): Benchmark {
  const guest = once(() => makeGuest(workbench));
  const boot = (name: string, make: typeof tsvmCommand): Contestant => ({
    name,
    sample: async () => timeBoot(make(workbench, await guest(), 1, MEMORY_MIB), INITRD_INIT),
  });
  return {
    name: 'linux: exec to /init of the initrd, Debian’s cloud kernel and its own initrd',
    unit: 's',
    slow: true,
    contestants: [boot('tsvm', tsvmCommand), boot('qemu tcg', tcgCommand)],
    comparisons: [{ of: 'tsvm', against: 'qemu tcg', as: 'ratio', atMost: 0.6 }],
  };
}
