/**
 * The programs that `tsvm` consists of, each with its commands. A start loads only one of them, to
 * save time. `start.ts`, `main.ts` and `scripts/bundle.ts` use this table.
 */
export interface Program {
  /** Names the files of the bundle: `dist/NAME.js`, `dist/NAME.PART.js`. */
  readonly name: 'container' | 'control' | 'image' | 'machine' | 'registry' | 'supervisor';
  /** Its main module in this folder. */
  readonly entry: string;
  /** Its commands; two words for the verbs of a group. */
  readonly commands: readonly string[];
  /** By which parts the bundle divides what parts share, see `scripts/bundle-plan.ts`. */
  readonly divideBy?: readonly string[];
}

/** The hidden command of the process that runs a container. */
export const SUPERVISOR_COMMAND = 'container-supervisor';
/** The hidden command of the process that makes a template for containers' machines. */
export const TEMPLATE_COMMAND = 'container-template';

/**
 * Docker's verbs for containers. `kill`, `pause` and `stop` are also commands for running machines: the
 * container program hands them on, by the name.
 */
export const CONTAINER_VERBS = [
  'attach',
  'commit',
  'cp',
  'create',
  'diff',
  'events',
  'exec',
  'export',
  'kill',
  'logs',
  'pause',
  'port',
  'ps',
  'rename',
  'restart',
  'rm',
  'run',
  'start',
  'stats',
  'stop',
  'top',
  'unpause',
  'update',
  'wait',
] as const;

/**
 * Docker's verbs that need no server. `tsvm image` combines verbs of three programs without a name
 * clash: qemu-img's for disk images and Docker's for container images.
 */
export const CONTAINER_COMMANDS = [
  'container',
  'container inspect',
  'container list',
  'container ls',
  'container prune',
  'history',
  'image history',
  'image inspect',
  'image list',
  'image load',
  'image ls',
  'image prune',
  'image remove',
  'image rm',
  'image save',
  'image tag',
  'images',
  'inspect',
  'load',
  'network',
  'network connect',
  'network create',
  'network disconnect',
  'network inspect',
  'network list',
  'network ls',
  'network prune',
  'network remove',
  'network rm',
  'rmi',
  'save',
  'system',
  'system df',
  'system install',
  'system prune',
  'system start-containers',
  'tag',
  'volume',
  'volume create',
  'volume inspect',
  'volume list',
  'volume ls',
  'volume prune',
  'volume remove',
  'volume rm',
] as const;

/** Docker's verbs that may contact a server. Separate, because the HTTP client loads slowly. */
export const REGISTRY_COMMANDS = [
  'image import',
  'image pull',
  'image push',
  'import',
  'login',
  'logout',
  'pull',
  'push',
] as const;

/** Commands for running machines, and what each does. */
export const CONTROL_SUMMARIES = {
  balloon: 'Show or set how much memory a guest has left',
  console: 'Attach to the console of a running machine',
  disk: 'Add a disk to a running machine, or remove one',
  kill: 'End a machine at once, like a power failure',
  limit: 'Limit the rate of a disk or a network',
  link: 'Plug or unplug the cable of a network',
  list: 'List running machines',
  memory: 'Show or set how much memory a guest has',
  metrics: 'Show what a machine has counted',
  net: 'Add a network to a running machine, or remove one',
  pause: 'Pause a machine',
  resume: 'Let a paused machine go on',
  status: 'Show what is known of a machine',
  stop: 'Ask a guest to shut down, and wait for it',
  'swap-disk': 'Give a disk of a running machine another image',
} as const;
export type ControlCommand = keyof typeof CONTROL_SUMMARIES;

function isContainerVerb(name: string): boolean {
  return CONTAINER_VERBS.some((verb) => verb === name);
}

const CONTROL: Program = {
  name: 'control',
  entry: 'control-main.ts',
  commands: Object.keys(CONTROL_SUMMARIES).filter((name) => !isContainerVerb(name)),
};
const CONTAINER: Program = {
  name: 'container',
  entry: 'container-main.ts',
  commands: [...CONTAINER_VERBS, ...CONTAINER_COMMANDS],
  divideBy: ['run', 'exec', 'ps', 'cp'],
};
const SUPERVISOR: Program = {
  name: 'supervisor',
  entry: 'supervisor-main.ts',
  commands: [SUPERVISOR_COMMAND, TEMPLATE_COMMAND],
  divideBy: ['boot-machine'],
};
const REGISTRY: Program = {
  name: 'registry',
  entry: 'registry-main.ts',
  commands: REGISTRY_COMMANDS,
};
const IMAGE: Program = { name: 'image', entry: 'image-main.ts', commands: ['image'] };
/** Also handles unknown commands and options, because its help is that of `tsvm`. */
const MACHINE: Program = {
  name: 'machine',
  entry: 'machine-main.ts',
  commands: ['boot', 'doctor', 'kernel'],
};

export const PROGRAMS: readonly Program[] = [
  REGISTRY,
  CONTAINER,
  CONTROL,
  IMAGE,
  MACHINE,
  SUPERVISOR,
];

/** Commands that are followed by a verb. */
const GROUPS = ['container', 'image', 'network', 'system', 'volume'];

/** The words of a command line that name the command: one, or a group and its verb. */
export function commandWords([first = '', second = '']: readonly string[]): readonly string[] {
  return GROUPS.includes(first) ? [first, second] : [first];
}

/** The program that a command line is for. */
export function findProgram(args: readonly string[]): Program {
  const words = commandWords(args);
  const program = (command: string) => PROGRAMS.find(({ commands }) => commands.includes(command));
  // Verbs that are not listed belong to the program that has the group itself.
  return program(words.join(' ')) ?? program(words[0] ?? '') ?? MACHINE;
}
