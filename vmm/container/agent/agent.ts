/**
 * What the host asks of the guest agent, the first program (PID 1) of a container's machine. A machine
 * has one agent; `connectAgent` gives it.
 */
import type { Readable, Writable } from 'node:stream';
import type { SeccompProfile } from '../seccomp/seccomp-profile.ts';

/** The first vsock port of the agent; its other connections and bound sockets have ports above it. */
export const AGENT_PORT = 1024;

/** Connections to this vsock port of the guest and N more lead to TCP port N of the container. */
export const PUBLISHED_PORT_BASE = 65_536;

/** Where the container's resolver asks: Docker's address. The agent answers there, see {@link NameSettings}. */
export const NAME_SERVER_ADDRESS = '127.0.0.11';

/**
 * Vsock ports of the host where the agent asks about names of containers, as DNS does over TCP: for
 * clients that came over TCP, and for those of UDP, whose answers are truncated if need be.
 */
export const NAME_PORTS = { streams: 1025, datagrams: 1026 } as const;

/** A problem that the guest reports. */
export type AgentErrorCode =
  /** The program does not exist in the container: exit code 127. */
  | 'program-not-found'
  /** The program is a folder, or may not or cannot be executed: exit code 126. */
  | 'program-not-executable'
  /** The working directory of an exec does not exist, or is no directory. */
  | 'no-working-directory'
  /** The image has no such user. */
  | 'no-such-user'
  /** The image has no such group. */
  | 'no-such-group'
  /** A path does not exist in the container. */
  | 'path-not-found'
  /** A path is, or is not, a directory, where the opposite is needed. */
  | 'wrong-path-type'
  /** The process has ended. */
  | 'process-ended'
  /** The agent's state does not allow the operation, for example an exec before the first process. */
  | 'wrong-state'
  /** The agent does not know the request, or refuses its arguments. */
  | 'invalid-request'
  /** A system call in the guest failed; the message names it. */
  | 'guest-failed'
  /** The agent does not answer, has closed a connection, or does not keep to its protocol. */
  | 'agent-lost';

/** A failure of a request to the agent. The guest's text in the message has no control characters. */
export class AgentError extends Error {
  readonly code: AgentErrorCode;
  /** The guest's errno, if a system call failed there. */
  readonly errno: number | undefined;

  constructor(code: AgentErrorCode, message: string, errno?: number) {
    super(message);
    this.name = 'AgentError';
    this.code = code;
    this.errno = errno;
  }
}

/** Limits of the container's control group; undefined: no limit. */
export interface ContainerLimits {
  /** Bytes that the container may use (`memory.max`). */
  readonly memoryBytes?: number | undefined;
  /** Processors, such as 1.5 (`cpu.max`). */
  readonly cpus?: number | undefined;
  /** Share among the guest's groups, 1 to 10000 (`cpu.weight`). */
  readonly cpuWeight?: number | undefined;
  /** Processors that may be used, such as `0-2,4` (`cpuset.cpus`). */
  readonly cpuset?: string | undefined;
  /** Number of processes and threads (`pids.max`). */
  readonly pids?: number | undefined;
}

interface MountTarget {
  /** Absolute path in the container. What is missing of it is made; links stay inside the root. */
  readonly destination: string;
  readonly readOnly?: boolean | undefined;
}

/** A shared folder of the host, or a single file in one. */
export interface SharedMount extends MountTarget {
  readonly type: 'share';
  /** Of a virtio-fs device. Several mounts may name the same tag. */
  readonly tag: string;
  /** Relative path in the share of the folder or file to mount; empty: all of it. */
  readonly source?: string | undefined;
  /**
   * Fills an empty share with what the image has at `destination`, with owner and mode, as for a new
   * named volume.
   */
  readonly copyUp?: boolean | undefined;
}

/** Memory of the container. */
export interface TmpfsMount extends MountTarget {
  readonly type: 'tmpfs';
  /** Default: half of the memory. */
  readonly sizeBytes?: number | undefined;
  /** 1 to 100: of the memory, instead of `sizeBytes`. */
  readonly sizePercent?: number | undefined;
  /** How many files and folders. Default: as many as there are pages in half of the memory. */
  readonly inodes?: number | undefined;
  /** Permission bits. Default: 0o1777. */
  readonly mode?: number | undefined;
  /** Owner of its root. Default: 0. */
  readonly userId?: number | undefined;
  readonly groupId?: number | undefined;
  /** Docker's default is nosuid, nodev and noexec. */
  readonly options?:
    | readonly ('exec' | 'suid' | 'dev' | 'noexec' | 'nosuid' | 'nodev')[]
    | undefined;
}

/**
 * A unix stream socket in the container. The agent listens there, and connects each client to the
 * vsock port of the host (CID 2), where the caller listens by `machine.vsock.listen`.
 */
export interface SocketMount extends MountTarget {
  readonly type: 'socket';
  readonly port: number;
  /** Permission bits. Default: 0o660. */
  readonly mode?: number | undefined;
  readonly userId?: number | undefined;
  readonly groupId?: number | undefined;
}

export type ContainerMount = SharedMount | TmpfsMount | SocketMount;

/** A network interface, in the order of the machine's network devices: `eth0`, `eth1`, ... */
export interface ContainerInterface {
  /** Of the machine's device. The interface with this address gets the name. */
  readonly mac: string;
  /** Of the device, where that has another address: it is changed to `mac`. */
  readonly deviceMac?: string | undefined;
  /** Default: `eth` and the position. */
  readonly name?: string | undefined;
  /** Asks a DHCP server for an IPv4 address, route and MTU. */
  readonly dhcp?: boolean | undefined;
  /** With prefix length, such as `10.89.0.2/24` or `fd00::2/64`. */
  readonly addresses?: readonly string[] | undefined;
  /** Default routes. A gateway outside the interface's networks is reached on the link. */
  readonly gateways?: readonly string[] | undefined;
  readonly mtu?: number | undefined;
}

/** How the container's names are resolved. */
export interface NameSettings {
  /** Content of `/etc/resolv.conf`, complete. */
  readonly resolvConf: string;
  /**
   * The agent answers at {@link NAME_SERVER_ADDRESS}: it asks the host at {@link NAME_PORTS}, and about
   * what that refuses these addresses, in turn. Those of the first call count for good. Undefined: there
   * is no need for it.
   */
  readonly nameServers?: readonly string[] | undefined;
}

export type NamedInterface = ContainerInterface & { readonly name: string };

/** What turns a machine into a certain container, once per machine. */
export interface ContainerRoot extends NameSettings {
  /**
   * Bytes of metadata at the beginning of the image's EROFS, `/dev/vda`, to read ahead: the size of
   * the first file of the joined disk.
   */
  readonly metadataBytes: number;
  /** What is mounted read-write over the image: the ext4 of `/dev/vdb`, or memory. */
  readonly writable: 'disk' | 'memory';
  /** The container sees a read-only root; mounts in it may be writable. */
  readonly readOnly?: boolean | undefined;
  readonly hostname: string;
  readonly domainname?: string | undefined;
  /** Content of `/etc/hosts`, complete. */
  readonly hosts: string;
  /** In any order; parents are mounted first. */
  readonly mounts?: readonly ContainerMount[] | undefined;
  readonly interfaces?: readonly ContainerInterface[] | undefined;
  /** Names with dots, such as `net.core.somaxconn`. */
  readonly sysctls?: Readonly<Record<string, string>> | undefined;
  readonly limits?: ContainerLimits | undefined;
  /** Size of `/dev/shm`. Default: 64 MiB. */
  readonly shmBytes?: number | undefined;
  /** All devices, nothing masked or read-only in `/proc` and `/sys`. */
  readonly privileged?: boolean | undefined;
  /** Reaps orphans and forwards signals: the container's PID 1, as parent of its first process. */
  readonly init?: boolean | undefined;
  /** TCP ports that the agent connects clients of {@link PUBLISHED_PORT_BASE} to. */
  readonly publishedPorts?: readonly number[] | undefined;
}

export interface ResourceLimit {
  /** As Docker's `--ulimit` names it: `nofile`, `nproc`, `core`, ... */
  readonly name: string;
  /** -1: unlimited. */
  readonly soft: number;
  readonly hard: number;
}

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** A process to start. */
export interface ProcessSpec {
  /**
   * `container`: in the container's namespaces; the first such process is the container's own, and
   * all processes of the container end with it. `guest`: outside of them, with the agent's files.
   */
  readonly scope?: 'container' | 'guest' | undefined;
  /** The program and its arguments, at least one. A program without `/` is looked up in PATH. */
  readonly args: readonly string[];
  /**
   * `NAME=VALUE`, complete: PATH, HOSTNAME and TERM are the caller's. The agent adds HOME, from the
   * image's /etc/passwd, if it is missing or empty.
   */
  readonly env: readonly string[];
  /** Absolute. Made for the container's first process, needed for others. Default: `/`. */
  readonly cwd?: string | undefined;
  /** As Docker's `--user`: `user`, `uid`, `user:group`, ... in any mix. Default: 0. */
  readonly user?: string | undefined;
  /** As Docker's `--group-add`: names or numbers. */
  readonly groupAdd?: readonly string[] | undefined;
  /** A terminal is stdin, stdout and stderr at once. */
  readonly terminal?: TerminalSize | undefined;
  /** Whether {@link GuestProcess.stdin} exists. Otherwise, without a terminal, stdin is /dev/null. */
  readonly stdin?: boolean | undefined;
  /** As Docker's `--cap-add`, with or without `CAP_`; also `ALL`. */
  readonly capAdd?: readonly string[] | undefined;
  readonly capDrop?: readonly string[] | undefined;
  readonly noNewPrivileges?: boolean | undefined;
  /** Default: `default`, Docker's profile. Privileged processes have none. */
  readonly seccomp?: 'default' | 'unconfined' | SeccompProfile | undefined;
  readonly resourceLimits?: readonly ResourceLimit[] | undefined;
  /** -1000 to 1000. */
  readonly oomScoreAdjust?: number | undefined;
  /** All capabilities, no seccomp profile. */
  readonly privileged?: boolean | undefined;
}

/** How a process ended. */
export type ProcessEnd = { readonly exitCode: number } | { readonly signal: number };

/**
 * A process that has been started. Both outputs have to be read, as they share a connection. What comes
 * for an output that has been destroyed is dropped: the process does not notice.
 */
export interface GuestProcess {
  /** Its PID in the guest, outside of the container's namespace. */
  readonly id: number;
  /** `end()` is the process's end of input; with a terminal it hangs nothing up. */
  readonly stdin: Writable | undefined;
  /**
   * Ends when every holder of the pipe has closed it, which may be after `ended`, or the container has
   * ended; a terminal ends with the process.
   */
  readonly stdout: Readable;
  /** Undefined with a terminal. */
  readonly stderr: Readable | undefined;
  /**
   * The process has ended, and all that it wrote is in the streams. Rejects with an {@link AgentError}
   * `agent-lost` if the machine ends first.
   */
  readonly ended: Promise<ProcessEnd>;
}

/** A process of the container, for `top`. */
export interface ProcessRow {
  /** In the container's namespace. */
  readonly pid: number;
  readonly parentPid: number;
  readonly userId: number;
  /** Of the image's /etc/passwd; otherwise the number. */
  readonly user: string;
  readonly state: string;
  /** Device number as in /proc/PID/stat; 0: none. */
  readonly terminal: number;
  /** Since the guest's boot, in ms. */
  readonly startedMs: number;
  readonly cpuMs: number;
  readonly residentBytes: number;
  readonly virtualBytes: number;
  readonly args: readonly string[];
}

/** Counters of the container's control group and interfaces. */
export interface ContainerStats {
  /** Since the guest's boot. */
  readonly uptimeMs: number;
  readonly cpuMs: number;
  readonly cpuUserMs: number;
  readonly cpuSystemMs: number;
  readonly throttledMs: number;
  readonly onlineCpus: number;
  /** `memory.current` without inactive file pages, as Docker shows it. */
  readonly memoryBytes: number;
  /** The limit, or the guest's memory. */
  readonly memoryLimitBytes: number;
  readonly pids: number;
  readonly pidsLimit: number | undefined;
  readonly blockReadBytes: number;
  readonly blockWriteBytes: number;
  readonly oomKills: number;
  readonly interfaces: readonly {
    readonly name: string;
    readonly receivedBytes: number;
    readonly receivedPackets: number;
    readonly sentBytes: number;
    readonly sentPackets: number;
  }[];
}

/** What a path in the container is; Docker's `X-Docker-Container-Path-Stat`. */
export interface PathStat {
  /** Last part of the path. */
  readonly name: string;
  readonly sizeBytes: number;
  /** `st_mode`, with the type. */
  readonly mode: number;
  readonly modifiedMs: number;
  readonly userId: number;
  readonly groupId: number;
  /** Of a symbolic link, with links resolved inside the container; otherwise empty. */
  readonly linkTarget: string;
}

export interface WriteArchiveOptions {
  /** Fails instead of replacing a directory by a file, or the reverse. */
  readonly noOverwriteDirectory?: boolean | undefined;
  /** Owners are those of the archive; otherwise root. */
  readonly keepOwners?: boolean | undefined;
}

/** A path that differs from the image. */
export interface PathChange {
  readonly kind: 'added' | 'changed' | 'deleted';
  readonly path: string;
}

/** What the agent reports unasked. */
export type AgentEvent =
  /** The kernel has killed a process of the container for lack of memory. */
  | { readonly type: 'oom' }
  /** The agent is gone: the machine has ended, or it broke its protocol. */
  | { readonly type: 'lost'; readonly reason: string };

/** All methods reject with {@link AgentError}. */
export interface Agent {
  /**
   * Resolves when everything that a container needs of the guest's kernel is up: all processors, and
   * the memory that a container, which has been tried, has made it allocate.
   */
  prepare(): Promise<void>;
  /**
   * For a machine that goes on from a saved state, before anything else: sets the guest's clock, and
   * gives its kernel random numbers that no other machine has.
   */
  renew(): Promise<void>;
  /** Mounts the root and everything in it, and sets up network, host name, sysctls and limits. */
  assemble(root: ContainerRoot): Promise<void>;
  startProcess(spec: ProcessSpec): Promise<GuestProcess>;
  /** Does nothing if the process has ended. @param signal number, 1 to 64 */
  signal(process: GuestProcess, signal: number): Promise<void>;
  resize(process: GuestProcess, size: TerminalSize): Promise<void>;
  /** The container's processes. */
  processes(): Promise<ProcessRow[]>;
  stats(): Promise<ContainerStats>;
  /**
   * A tar archive of a file or folder, whose members start with the path's last part. Symbolic links
   * in the path, but not at its end, are followed inside the container's root.
   */
  readArchive(path: string): Promise<Readable>;
  /** Unpacks a tar archive into a folder of the container. */
  writeArchive(path: string, archive: Readable, options?: WriteArchiveOptions): Promise<void>;
  /** Does not follow a link at the path's end. */
  pathStat(path: string): Promise<PathStat>;
  /** All paths that differ from the image, sorted. */
  changes(): Promise<PathChange[]>;
  /** A layer: a tar archive of the changes, with OCI's whiteouts. */
  upperArchive(): Promise<Readable>;
  /** A tar archive of the whole root, without what is mounted in it. */
  rootArchive(): Promise<Readable>;
  /** Sets up a network device that the machine has had since the root was assembled. */
  attachInterface(link: NamedInterface, names: NameSettings): Promise<void>;
  /** Afterwards the guest does not use the device. @param link with the MAC address of the device */
  detachInterface(link: NamedInterface, names: NameSettings): Promise<void>;
  updateLimits(limits: ContainerLimits): Promise<void>;
  /** Stops all processes of the container until they are thawed; the agent goes on. */
  freeze(): Promise<void>;
  thaw(): Promise<void>;
  /** Sets the guest's clock to the host's. */
  setClock(): Promise<void>;
  /** Gives unused blocks of the writable disk, and clean caches, back to the host. */
  trim(): Promise<void>;
  /** @returns a function that removes the listener */
  onEvent(listener: (event: AgentEvent) => void): () => void;
  /**
   * Ends all processes, writes everything back, unmounts and powers off. Resolves when the guest
   * has acknowledged; `machine.ended` tells the end.
   */
  shutdown(): Promise<void>;
}
