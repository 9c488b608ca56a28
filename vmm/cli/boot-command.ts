import { Command, Option } from 'commander';
import { type DefaultGuest, locateDefaultGuest } from '../../guest-images/default-guest.ts';
import { TsvmError } from '../errors.ts';
import type { CloudInitConfig } from '../machine/cloud-init/cloud-init-config.ts';
import type { ImageDiskConfig, MachineConfig, VsockConfig } from '../machine/config.ts';
import type { PortConfig } from '../machine/console-config.ts';
import type { GdbConfig } from '../machine/gdb-config.ts';
import type { Engine } from '../machine/kernel-mode.ts';
import type { NetConfig } from '../machine/net-config.ts';
import { TRANSPORTS, type Transport } from '../machine/placement.ts';
import type { PmemConfig } from '../machine/pmem-config.ts';
import type { ShareConfig } from '../machine/share-config.ts';
import type { LogLevel } from '../observability/logger.ts';
import {
  addFlags,
  appendWords,
  type ConsoleOption,
  collect,
  type MemoryOption,
  onlyOnce,
  parseCloudInit,
  parseConsoleOption,
  parseCpus,
  parseDisk,
  parseEngine,
  parseGdb,
  parseLogLevel,
  parseMemoryOption,
  parseName,
  parseOnOff,
  parseOnReboot,
  parsePassword,
  parsePmem,
  parsePort,
  parseSandbox,
  parseShare,
  parseVsock,
  type SandboxOption,
} from './boot-options.ts';
import { detachedProcess } from './detached-process.ts';
import { exitCodeLines } from './exit-codes.ts';
import { parseNet } from './net-option.ts';
import { runBoot } from './run-boot.ts';

interface BootOptions {
  readonly kernel?: string;
  readonly initrd?: string;
  readonly kernelEntry?: string;
  readonly disk: readonly ImageDiskConfig[];
  readonly cloudInit?: CloudInitConfig;
  readonly sshKey: readonly string[];
  readonly hostname?: string;
  readonly password?: string;
  readonly pmem: readonly PmemConfig[];
  readonly net: readonly (NetConfig | undefined)[];
  readonly cmdline?: string;
  readonly append?: string;
  readonly cpus: number;
  readonly memory: MemoryOption;
  readonly cpuMask: readonly string[];
  readonly share: readonly ShareConfig[];
  readonly vsock?: VsockConfig;
  readonly acpi: 'on' | 'off';
  readonly transport: Transport;
  readonly balloon: boolean;
  readonly gdb?: GdbConfig;
  readonly name?: string;
  readonly detach?: boolean;
  readonly console?: ConsoleOption;
  readonly port: readonly PortConfig[];
  readonly onReboot: 'exit' | 'restart';
  readonly logLevel: LogLevel;
  readonly metrics?: string;
  readonly kvm: string;
  readonly engine: Engine;
  readonly sandbox: SandboxOption;
}

const HELP = `
Exit codes:
${exitCodeLines()}

Networks:
  --net user    the host's addresses by DHCP, without privileges; needs the program passt
      hostfwd=[tcp:|udp:][ADDRESS:]PORT:GUESTPORT  forwards a port of the host, of 127.0.0.1 unless
      an address is given ([::1] for IPv6); repeatable
  --net tap=NAME  a tap device that you have created: ip tuntap add NAME mode tap user $USER
  mac=MAC, mtu=BYTES and link=down may follow both; "tsvm link" plugs the cable in later

Rate limits of --disk and of each direction of --net:
  bps=SIZE, iops=N (--net: pps=N)  bytes and requests (frames) per second
  bps_max=SIZE, iops_max=N (pps_max=N)  how much may pass at once; default: a tenth of a second's

Debugger:
  tsvm boot --gdb 1234,wait, and in another terminal: gdb vmlinux -ex 'target remote :1234'
      vmlinux is the kernel with its symbols; "hbreak start_kernel" and "continue" stop at its first C
      function, "detach" lets the guest run on. Whoever connects controls the machine.

In the terminal, Ctrl-A x ends the machine and Ctrl-A h shows the keys.

Examples:
  tsvm boot                                    the default guest, in this terminal
  tsvm boot --memory 1G --disk debian.qcow2    the kernel on the disk, as its boot loader would boot it
  tsvm boot --memory 1G --disk cloud.qcow2 --ssh-key ~/.ssh/id_ed25519.pub --net user,hostfwd=2222:22
  tsvm boot --disk debian.qcow2 --kernel-entry list   what the boot loader offers
  tsvm boot --cpus 2 --disk root.img           a root file system without a kernel, the default kernel
  tsvm boot --kernel vmlinuz --initrd initrd.img --append "root=/dev/vda1" --disk debian.raw
  tsvm boot --name web --memory 512M,max=4G    "tsvm memory web 2G" gives it more while it runs
  tsvm boot --pmem root.erofs,ro --append "root=/dev/pmem0 rootfstype=erofs rootflags=dax=always"
                                               a root that many machines share in the host's page cache
  tsvm boot --net user,hostfwd=8080:80         port 8080 of 127.0.0.1 leads to the guest's port 80
  tsvm boot --share src:src --vsock vm.sock    a shared folder, and connections to programs of the host
  printf 'uname -a\\npoweroff\\n' | tsvm boot   input from a pipe
  tsvm boot --detach --name web                in the background; "tsvm console web" attaches`;

export function bootCommand(): Command {
  return new Command('boot')
    .description('Boots Linux with its serial console in this terminal.')
    .option(
      '--kernel <file>',
      'bzImage or ELF kernel (default: the first disk’s, else the default guest’s)',
      onlyOnce,
    )
    .option('--initrd <file>', 'initial RAM disk', onlyOnce)
    .option(
      '--kernel-entry <name|list>',
      'boot this entry of the first disk’s boot loader, by its name or title; list: show them',
      onlyOnce,
    )
    .option(
      '--disk <file[,ro][,overlay][,format=raw|qcow2][,backing=allow]>',
      'disk to use instead of the default guest’s; repeatable; the first is /dev/vda; also with rate limits',
      collect(parseDisk),
      [],
    )
    .option(
      '--cloud-init <user-data[,meta-data=file][,network-config=file]>',
      'settings for cloud-init in the guest, on a read-only disk (NoCloud)',
      parseCloudInit,
    )
    .option(
      '--ssh-key <file>',
      'public SSH keys for the default user, by cloud-init; repeatable',
      collect((text: string) => text),
      [],
    )
    .option('--hostname <name>', 'the guest’s host name, by cloud-init', onlyOnce)
    .option(
      '--password <text|file:path>',
      'password of the default user, by cloud-init; other users of the host can see TEXT while tsvm runs',
      parsePassword,
    )
    .option(
      '--pmem <file[,ro]>',
      'file as memory of the guest (/dev/pmem0), which it can map without a copy; repeatable',
      collect(parsePmem),
      [],
    )
    .option(
      '--net <user[,hostfwd=...]|tap=name[,queues=N]|none>',
      'network; repeatable; also with mac=, mtu=, spoofing=off (tap) and rate limits (default: none)',
      collect(parseNet),
      [],
    )
    .option('--cmdline <str>', 'complete kernel command line, replacing tsvm’s', onlyOnce)
    .option('--append <str>', 'append to the kernel command line; repeatable', appendWords)
    .option('--cpus <n>', 'number of vCPUs, 1 to 32', parseCpus, 1)
    .addOption(
      new Option(
        '-m, --memory <size[,max=size]>',
        'guest memory, e.g. 512M or 2G; max: how much "tsvm memory" can give it while it runs',
      )
        .argParser(parseMemoryOption)
        .default({ bytes: 256 * 2 ** 20 }, '256M'),
    )
    .option(
      '--cpu-mask <flags>',
      'CPU features to hide, by /proc/cpuinfo name, e.g. avx2,rdrand; repeatable',
      addFlags,
      [],
    )
    .option(
      '--acpi <on|off>',
      'off: describe the machine by an MP table and the kernel command line instead',
      parseOnOff,
      'on',
    )
    .addOption(
      new Option('--transport <kind>', 'how virtio devices are connected: mmio or pci')
        .choices(TRANSPORTS)
        .default('mmio'),
    )
    .option(
      '--console <[virtio,]where>',
      'tty, stdio, file:PATH or none (default: tty in a terminal, else stdio); virtio: hvc0, not a serial port',
      parseConsoleOption,
    )
    .option(
      '--port <name=socket>',
      'named port of a virtio console, reached through a new socket file; repeatable',
      collect(parsePort),
      [],
    )
    .option(
      '--share <dir:tag[,ro]>',
      'share a folder with the guest, which mounts it with "mount -t virtiofs TAG FOLDER"; repeatable',
      collect(parseShare),
      [],
    )
    .option(
      '--vsock <socket[,cid=N]>',
      'virtio-vsock device, reached through a new socket file: connect to it and send "CONNECT PORT"; the guest reaches listeners of SOCKET_PORT',
      parseVsock,
    )
    .option('--balloon', 'memory balloon; see "tsvm balloon --help"', false)
    .option(
      '--gdb <socket|[address:]port[,wait]>',
      'let GDB connect, by a new socket file or a port of 127.0.0.1; wait: run nothing before it does',
      parseGdb,
    )
    .option('--name <name>', 'name for "tsvm list" and other commands (default: vm-PID)', parseName)
    .option(
      '-d, --detach',
      'run in the background: print the name once the machine runs; see "tsvm console"',
    )
    .option('--on-reboot <action>', 'exit or restart when the guest resets', parseOnReboot, 'exit')
    .option('--log-level <level>', 'error, warn, info or debug', parseLogLevel, 'info')
    .option(
      '--metrics <file>',
      'write counters and boot times to this file, as JSON, or for Prometheus if it ends with .prom',
      onlyOnce,
    )
    .option('--kvm <device>', 'KVM device', '/dev/kvm')
    .option(
      '--engine <which>',
      'how to run guest kernels on a host without VT-x or AMD-V: interpreter (tsvm’s), emulator (KVM’s, about a hundred times slower) or auto',
      parseEngine,
      'auto',
    )
    .addOption(
      new Option(
        '--sandbox <on[,files=path]|off>',
        'confine what a guest that breaks out of its machine could do to the host; files: what "tsvm disk add" and "tsvm swap-disk" may open',
      )
        .argParser(parseSandbox)
        .default({ on: true, files: [] }, 'on'),
    )
    .addHelpText('after', HELP)
    .allowExcessArguments(false)
    .action(async (options: BootOptions) => {
      const detached = detachedProcess();
      const isList = options.kernelEntry === 'list';
      if (options.detach === true && detached === undefined && !isList) {
        checkDetachable(options);
        const { startDetached } = await import('./detach.ts');
        process.exitCode = await startDetached();
        return;
      }
      const config = machineConfig(options);
      if (isList) {
        const { printKernelEntries } = await import('./kernel-entries.ts');
        await printKernelEntries(config);
        return;
      }
      process.exitCode = await runBoot(config, {
        name: options.name,
        detached,
        console: options.console?.where,
        onReboot: options.onReboot,
        logLevel: options.logLevel,
        metricsPath: options.metrics,
        sandboxFiles: options.sandbox.files,
      });
    });
}

/** @throws TsvmError `invalid-config` for options that need a terminal */
function checkDetachable({ console }: BootOptions): void {
  const where = console?.where;
  if (where?.kind !== 'tty' && where?.kind !== 'stdio') return;
  throw new TsvmError(
    'invalid-config',
    `--detach and --console ${where.kind} contradict each other: attach later with "tsvm console"`,
  );
}

/** The user's kernel, or the one on the first disk, or the default one. */
function kernelSettings(
  options: BootOptions,
  guest: DefaultGuest | undefined,
): Pick<MachineConfig, 'kernelPath' | 'kernelEntry' | 'rootKernelPath' | 'modulesPath'> {
  const { kernel, kernelEntry } = options;
  if (kernel !== undefined && kernelEntry !== undefined) {
    throw new TsvmError(
      'invalid-config',
      '--kernel and --kernel-entry contradict each other: give one of them',
    );
  }
  if (kernel !== undefined) return { kernelPath: kernel };
  // An initrd alone is one for the default kernel.
  const isOnDisk = options.disk.length > 0 && options.initrd === undefined;
  if (isOnDisk || kernelEntry !== undefined) {
    return { kernelEntry, rootKernelPath: guest?.kernelPath, modulesPath: guest?.modulesPath };
  }
  if (guest === undefined) {
    throw new TsvmError(
      'file-unreadable',
      'the default guest is not built: run "npm run setup", or pass a kernel with --kernel',
    );
  }
  if (guest.modulesPath !== undefined && options.acpi === 'off') {
    throw new TsvmError(
      'invalid-config',
      "--acpi off and Debian's kernel contradict each other, because it finds virtio devices only " +
        'by ACPI: build the tuned kernel with "tsvm kernel build", or pass a kernel with --kernel',
    );
  }
  return { kernelPath: guest.kernelPath, modulesPath: guest.modulesPath };
}

function cloudInitSettings(options: BootOptions): CloudInitConfig | undefined {
  const { cloudInit, sshKey, hostname, password } = options;
  const isWanted =
    cloudInit !== undefined ||
    sshKey.length > 0 ||
    hostname !== undefined ||
    password !== undefined;
  return isWanted ? { ...cloudInit, sshKeyPaths: sshKey, hostname, password } : undefined;
}

function machineConfig(options: BootOptions): MachineConfig {
  const guest = options.kernel === undefined ? locateDefaultGuest() : undefined;
  const ownDisks = options.disk.length > 0 || options.initrd !== undefined || guest === undefined;
  const defaultDisk: ImageDiskConfig[] = ownDisks
    ? []
    : [
        {
          path: guest.rootDiskPath,
          readOnly: false,
          format: 'raw',
          overlay: true,
          backing: 'same-folder',
        },
      ];
  return {
    ...kernelSettings(options, guest),
    initrdPath: options.initrd,
    disks: [...defaultDisk, ...options.disk],
    cloudInit: cloudInitSettings(options),
    pmems: options.pmem,
    nets: options.net.filter((net) => net !== undefined),
    cmdline: options.cmdline,
    appendCmdline: options.append,
    cpus: options.cpus,
    memoryBytes: options.memory.bytes,
    memoryMaxBytes: options.memory.maxBytes,
    acpi: options.acpi === 'on',
    transport: options.transport,
    cpuMask: options.cpuMask,
    shares: options.share,
    balloon: options.balloon,
    console: options.console?.device,
    ports: options.port,
    vsock: options.vsock,
    gdb: options.gdb,
    devicePath: options.kvm,
    engine: options.engine,
    sandbox: options.sandbox.on,
  };
}
