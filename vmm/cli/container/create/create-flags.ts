/** The options that `run` and `create` share. */
import { type Command, Option } from 'commander';
import { collect } from '../verb.ts';

/** Each: flags, description; lists are collected. */
const LISTS: readonly (readonly [flags: string, description: string])[] = [
  ['-a, --attach <stream>', 'attach to STDIN, STDOUT or STDERR'],
  ['--add-host <host:ip>', 'add a host name to /etc/hosts; host-gateway stands for this host'],
  ['--cap-add <capability>', 'add a Linux capability'],
  ['--cap-drop <capability>', 'drop a Linux capability'],
  ['--dns <address>', 'set a DNS server'],
  ['--dns-option <option>', 'set an option of the resolver'],
  ['--dns-search <domain>', 'set a DNS search domain'],
  ['-e, --env <name[=value]>', 'set an environment variable'],
  ['--env-file <file>', 'read environment variables from a file'],
  ['--expose <port>', 'expose a port or a range of ports'],
  ['--group-add <group>', 'add another group to the process'],
  ['-l, --label <key[=value]>', 'set a label'],
  ['--label-file <file>', 'read labels from a file'],
  ['--log-opt <name=value>', 'max-size=SIZE, max-file=COUNT'],
  ['--mount <spec>', 'attach a mount: type=bind|volume|tmpfs,source=...,target=...'],
  ['--network <network>', 'connect to a network'],
  ['--network-alias <name>', 'add a name of the container in its network'],
  ['-p, --publish <[ip:][host:]port[/proto]>', "publish a container's port"],
  ['--security-opt <option>', 'no-new-privileges, seccomp=unconfined, seccomp=FILE'],
  ['--storage-opt <option>', 'size=SIZE: how much the container may write (default: 10G)'],
  ['--sysctl <name=value>', "set a kernel parameter of the container's machine"],
  ['--tmpfs <path[:options]>', 'mount a tmpfs'],
  ['--ulimit <name=soft[:hard]>', 'limit a resource of processes'],
  ['-v, --volume <[source:]path[:options]>', 'mount a folder, a file or a volume'],
  ['--volumes-from <container[:ro]>', "mount another container's volumes"],
];
const SINGLES: readonly (readonly [flags: string, description: string])[] = [
  ['--cidfile <file>', 'write the ID to a file'],
  ['-c, --cpu-shares <number>', 'relative CPU weight within the machine'],
  ['--cpus <number>', 'number of CPUs (default: all of this host)'],
  ['--cpuset-cpus <list>', 'CPUs of the machine that may be used: 0-1,3'],
  ['--detach-keys <keys>', 'keys that detach from the container (default: ctrl-p,ctrl-q)'],
  ['--domainname <name>', 'domain name of the container'],
  ['--entrypoint <program>', "replace the image's entry point"],
  ['--health-cmd <line>', 'shell command that checks the health'],
  ['--health-interval <duration>', 'time between checks (default: 30s)'],
  ['--health-retries <count>', 'consecutive failures that make it unhealthy (default: 3)'],
  [
    '--health-start-interval <duration>',
    'time between checks during the start period (default: 5s)',
  ],
  ['--health-start-period <duration>', 'start-up time during which failures do not count'],
  ['--health-timeout <duration>', 'time limit of a check (default: 30s)'],
  ['-h, --hostname <name>', 'host name of the container (default: its ID)'],
  ['--ip <address>', 'IPv4 address in its network'],
  ['--ip6 <address>', 'IPv6 address in its network'],
  ['--log-driver <driver>', 'json-file or none'],
  ['--mac-address <address>', 'MAC address'],
  ['-m, --memory <bytes>', 'memory limit'],
  ['--memory-reservation <bytes>', 'ignored: memory that a container frees goes back to the host'],
  ['--memory-swap <bytes>', 'ignored: machines have no swap'],
  ['--memory-swappiness <percent>', 'ignored: machines have no swap'],
  ['--name <name>', 'name of the container'],
  ['--oom-score-adj <number>', 'how readily the kernel kills its processes, -1000 to 1000'],
  ['--pids-limit <number>', 'maximum number of processes and threads; -1: unlimited'],
  ['--platform <platform>', 'platform of the image'],
  ['--restart <policy>', 'no, always, unless-stopped or on-failure[:COUNT]'],
  ['--runtime <name>', 'ignored: containers run in machines of their own'],
  ['--shm-size <bytes>', 'size of /dev/shm (default: 64m)'],
  ['--stop-signal <signal>', 'signal that stops the container'],
  ['--stop-timeout <seconds>', 'time from that signal to SIGKILL (default: 10)'],
  ['-u, --user <name|uid[:group|gid]>', 'user and group of the process'],
  ['-w, --workdir <folder>', 'working directory'],
];
const FLAGS: readonly (readonly [flags: string, description: string])[] = [
  ['--disable-content-trust', 'ignored: there is no content trust'],
  ['--init', 'run a small init as PID 1 that forwards signals and reaps processes'],
  ['-i, --interactive', 'keep standard input open, even if not attached'],
  ['--no-healthcheck', "disable the image's health check"],
  ['--oom-kill-disable', 'ignored: its machine has its own memory'],
  ['--privileged', 'give it all capabilities and all devices of its machine'],
  ['-P, --publish-all', 'publish all exposed ports on random ports'],
  ['-q, --quiet', 'do not print the progress of a pull'],
  ['--read-only', 'mount the root file system read-only'],
  ['--rm', 'remove the container when it ends'],
  ['-t, --tty', 'allocate a pseudo-terminal'],
];
/** Old names, other ways to say the same, and what has no effect here. */
const HIDDEN: readonly (readonly [flags: string, kind: 'list' | 'single'])[] = [
  ['--annotation <key=value>', 'list'],
  ['--blkio-weight <number>', 'single'],
  ['--cgroupns <mode>', 'single'],
  ['--cpu-period <microseconds>', 'single'],
  ['--cpu-quota <microseconds>', 'single'],
  ['--cpuset-mems <list>', 'single'],
  ['--dns-opt <option>', 'list'],
  ['--isolation <technology>', 'single'],
  ['--kernel-memory <bytes>', 'single'],
  ['--net <network>', 'list'],
  ['--net-alias <name>', 'list'],
];
/** An option of Docker that means nothing here. */
interface RefusedOption {
  /** Without `--`. */
  readonly name: string;
  /** What to do instead, or why it cannot be. */
  readonly advice: string;
  /** Values that ask for what is so anyway. */
  readonly harmless?: readonly string[];
}
const NO_DEVICES = 'devices of the host cannot be given to a machine';
const NO_SHARES = 'containers share no kernel';
export const REFUSED: readonly RefusedOption[] = [
  {
    name: 'cgroup-parent',
    advice: 'a container is a machine of its own, in the control group of "tsvm run"',
    harmless: [''],
  },
  { name: 'device', advice: NO_DEVICES },
  { name: 'device-cgroup-rule', advice: NO_DEVICES },
  ...['device-read-bps', 'device-read-iops', 'device-write-bps', 'device-write-iops'].map(
    (name) => ({ name, advice: NO_DEVICES }),
  ),
  { name: 'gpus', advice: NO_DEVICES },
  {
    name: 'ipc',
    advice: `${NO_SHARES}: connect them by a network or a volume`,
    harmless: ['', 'private', 'shareable'],
  },
  { name: 'link', advice: 'use "tsvm network create" and --network' },
  {
    name: 'pid',
    advice: `${NO_SHARES}: use "tsvm exec" to run a process in a container`,
    harmless: ['', 'private'],
  },
  {
    name: 'userns',
    advice: 'users of a container exist only in its machine',
    harmless: ['', 'host'],
  },
  { name: 'uts', advice: `${NO_SHARES}: use --hostname`, harmless: ['', 'private'] },
];

export function addCreateFlags(command: Command): Command {
  for (const [flags, description] of LISTS) command.option(flags, description, collect);
  for (const [flags, description] of SINGLES) command.option(flags, description);
  for (const [flags, description] of FLAGS) command.option(flags, description);
  command.option('--pull <policy>', 'pull the image: missing, always or never', 'missing');
  for (const [flags, kind] of HIDDEN) {
    const option = new Option(flags).hideHelp();
    command.addOption(kind === 'list' ? option.argParser(collect) : option);
  }
  for (const { name } of REFUSED) command.addOption(new Option(`--${name} <value>`).hideHelp());
  return command;
}
