import {
  accessSync,
  constants,
  existsSync,
  lstatSync,
  readFileSync,
  statfsSync,
  statSync,
} from 'node:fs';
import { freemem, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { locateDefaultGuest } from '../../guest-images/default-guest.ts';
import { findVirtiofsd } from '../backends/fs/virtiofsd.ts';
import { MachineTemplates } from '../container/warm-start/machine-templates.ts';
import { TsvmError } from '../errors.ts';
import { cacheFolder } from '../host/folders.ts';
import { hasIoUring } from '../host/io-uring.ts';
import { KVM_CAP_MAX_VCPUS, KVM_CAP_NR_VCPUS, neededCapabilities } from '../kvm/capabilities.ts';
import { checkKvmExtension, type KvmHost, probeKvm } from '../kvm/host.ts';
import { chooseKernelMode } from '../machine/kernel-mode.ts';
import { hasCode } from '../util/error-code.ts';
import { formatSize } from '../util/size.ts';
import { EXIT_OUR_FAILURE } from './exit-codes.ts';
import { print } from './standard-streams.ts';

/** The result of one check. */
interface Finding {
  readonly state: 'ok' | 'note' | 'wrong';
  readonly what: string;
  /** What to do about it. */
  readonly advice?: string;
}

const TUN_DEVICE = '/dev/net/tun';
const MEMORY_COMFORTABLE_BYTES = 512 * 2 ** 20;
/** Enough for two unpacked distribution kernels of about 60 MB each. */
const CACHE_COMFORTABLE_BYTES = 128 * 2 ** 20;

function checkKvm(device: string): Finding[] {
  try {
    const host = probeKvm(device);
    const usable: Finding = { state: 'ok', what: `${device} can be used` };
    return [usable, describeHost(host), ...limits(device, host.emulatesKernelMode)];
  } catch (error) {
    if (!(error instanceof TsvmError)) throw error;
    return [{ state: 'wrong', what: error.message }];
  }
}

function describeHost(host: KvmHost): Finding {
  switch (chooseKernelMode(host, 'auto')) {
    case 'hardware':
      return { state: 'ok', what: 'hardware virtualization (VT-x or AMD-V)' };
    case 'interpreter':
      return {
        state: 'ok',
        what: 'kvm-pvm (no VT-x or AMD-V): tsvm interprets guest kernels, the processor runs guest programs',
      };
    case 'emulator':
      return {
        state: 'note',
        what: 'kvm-pvm (no VT-x or AMD-V) in a version that tsvm’s interpreter does not support: KVM’s emulator runs guest kernels, about a hundred times slower',
        advice: 'use a host with VT-x or AMD-V (bare metal, or nested), or a newer kvm-pvm',
      };
  }
}

/** Capabilities and limits of a device that {@link probeKvm} accepted. */
function limits(device: string, pvm: boolean): Finding[] {
  const vcpus = checkKvmExtension(device, KVM_CAP_NR_VCPUS);
  const most = checkKvmExtension(device, KVM_CAP_MAX_VCPUS);
  return [
    { state: 'ok', what: `all ${neededCapabilities(pvm).length} capabilities that tsvm uses` },
    { state: 'ok', what: `vCPUs: ${vcpus} recommended, ${most} at most` },
  ];
}

function checkIoUring(): Finding {
  return hasIoUring()
    ? { state: 'ok', what: 'io_uring' }
    : {
        state: 'note',
        what: 'io_uring is not available: disks use threads, which is slower',
        advice:
          'run "sysctl kernel.io_uring_disabled=0"; in a container, allow io_uring in its seccomp profile',
      };
}

function checkMemory(): Finding {
  const free = freemem();
  const what = `${formatSize(free)} of memory available`;
  return free >= MEMORY_COMFORTABLE_BYTES
    ? { state: 'ok', what }
    : { state: 'note', what, advice: 'end other programs, or give guests less with --memory' };
}

/** The longest prefix of a path that exists, possibly as a dangling link. */
function existingPart(path: string): string {
  const exists = lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  return exists || path === dirname(path) ? path : existingPart(dirname(path));
}

function checkCache(): Finding {
  const folder = cacheFolder();
  if (folder === undefined) {
    return {
      state: 'note',
      what: 'no home folder to cache unpacked kernels in: they are unpacked at each boot',
      advice: 'set HOME or XDG_CACHE_HOME',
    };
  }
  let existing = folder;
  try {
    existing = existingPart(folder);
    if (!statSync(existing).isDirectory()) throw new Error('not a folder');
    accessSync(existing, constants.W_OK | constants.X_OK);
  } catch {
    const made = existing === folder ? 'written' : `created, as ${existing} cannot be written`;
    return {
      state: 'note',
      what: `${folder} cannot be ${made}: kernels are unpacked at each boot`,
      advice: `get write access ("ls -ld ${existing}" shows who has it), or set XDG_CACHE_HOME`,
    };
  }
  const { bavail, bsize } = statfsSync(existing);
  const free = bavail * bsize;
  if (free < CACHE_COMFORTABLE_BYTES) {
    return {
      state: 'note',
      what: `${folder}: only ${formatSize(free)} free for unpacked kernels`,
      advice: 'free some space, or set XDG_CACHE_HOME to a folder on another disk',
    };
  }
  return existing === folder
    ? { state: 'ok', what: `cache of unpacked kernels: ${folder}` }
    : { state: 'ok', what: `cache of unpacked kernels: ${folder}, created on first use` };
}

function checkDefaultGuest(): Finding {
  const guest = locateDefaultGuest();
  return guest === undefined
    ? { state: 'note', what: 'the default guest is not built', advice: 'run "npm run setup"' }
    : guest.modulesPath === undefined
      ? { state: 'ok', what: `default guest: ${guest.kernelPath}` }
      : {
          state: 'ok',
          what: `default guest: ${guest.kernelPath}`,
          advice: '"tsvm kernel build" compiles a kernel that boots several times as fast',
        };
}

/** Saved machines that containers go on from. */
function checkWarmStarts(): Finding {
  const templates = MachineTemplates.ofUser();
  if (templates === undefined) {
    const advice = 'unset TSVM_WARM_START, and have a cache folder, for faster starts';
    return { state: 'note', what: 'every container boots: there are no warm starts', advice };
  }
  const [failure] = templates.failures();
  if (failure !== undefined) {
    return {
      state: 'note',
      what: `containers boot, as no machine could be saved for warm starts: ${failure}`,
      advice: 'it is tried again after an hour, or after "tsvm system prune -a"',
    };
  }
  const { bytes, count } = templates.usage();
  const what =
    count === 0
      ? 'warm starts of containers: the first "tsvm run" prepares them'
      : `warm starts of containers: saved machines: ${count}, ${formatSize(bytes)}`;
  return { state: 'ok', what };
}

/** A program that some features need. @param find throws TsvmError when it is missing */
function checkHelper(name: string, use: string, aptPackage: string, find: () => string): Finding {
  try {
    return { state: 'ok', what: `${name}: ${find()}` };
  } catch (error) {
    if (!(error instanceof TsvmError)) throw error;
    return {
      state: 'note',
      what: `${name} is missing, which ${use} need`,
      advice: `as root, run "apt-get install ${aptPackage}", or what installs it elsewhere`,
    };
  }
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    // There is none, or PATH names a folder that this user may not enter.
    return false;
  }
}

function findInPath(name: string): string {
  const folders = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`.split(':');
  const path = folders.map((folder) => join(folder, name)).find(isProgram);
  if (path !== undefined) return path;
  throw new TsvmError('backend-failed', `there is no ${name}`);
}

function checkHelpers(): Finding[] {
  return [
    checkHelper('passt', '--net user and containers with a network', 'passt', () =>
      findInPath('passt'),
    ),
    checkHelper(
      'virtiofsd',
      '--share and volumes of containers',
      'qemu-system-common',
      findVirtiofsd,
    ),
    checkHelper('mke2fs', 'containers', 'e2fsprogs', () => findInPath('mke2fs')),
    checkHelper('ip', 'networks of "tsvm network create"', 'iproute2', () => findInPath('ip')),
    checkTun(),
    ...(process.getuid?.() === 0 ? [] : checkSubordinateIds()),
  ];
}

/** The device by which passt and networks pass on frames. */
function checkTun(): Finding {
  try {
    accessSync(TUN_DEVICE, constants.R_OK | constants.W_OK);
    return { state: 'ok', what: `${TUN_DEVICE} can be used` };
  } catch (error) {
    const state = hasCode(error, 'ENOENT') ? 'is missing' : 'cannot be opened';
    return {
      state: 'note',
      what: `${TUN_DEVICE} ${state}, which networks of "tsvm network create" and --net tap need`,
      advice: `as root, run "modprobe tun"; then "chmod 666 ${TUN_DEVICE}" lets other users open it`,
    };
  }
}

/** The user's name; the number of one without a name. */
function ownName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.());
  }
}

/** What lets a user other than root have files of several owners in volumes. */
function checkSubordinateIds(): Finding[] {
  const username = ownName();
  const names = [username, String(process.getuid?.())];
  const use = 'volumes with files of several owners';
  const hasIds = ['/etc/subuid', '/etc/subgid'].every((path) => {
    const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
    return text.split('\n').some((line) => names.includes(line.split(':')[0] ?? ''));
  });
  return [
    checkHelper('newuidmap', use, 'uidmap', () => findInPath('newuidmap')),
    hasIds
      ? { state: 'ok', what: `subordinate IDs of ${username} in /etc/subuid and /etc/subgid` }
      : {
          state: 'note',
          what: `${username} has no subordinate IDs, which ${use} need`,
          advice: `as root, run "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${username}"`,
        },
  ];
}

const MARKS = { ok: 'ok   ', note: 'note ', wrong: 'WRONG' } as const;

/** Prints what was found. @returns the exit code */
export function runDoctor(device: string): number {
  const findings = [
    ...checkKvm(device),
    checkIoUring(),
    checkMemory(),
    checkCache(),
    checkDefaultGuest(),
    checkWarmStarts(),
    ...checkHelpers(),
  ];
  for (const { state, what, advice } of findings) {
    print(`${MARKS[state]} ${what}\n`);
    if (advice !== undefined) print(`      ${advice}\n`);
  }
  return findings.some(({ state }) => state === 'wrong') ? EXIT_OUR_FAILURE : 0;
}
