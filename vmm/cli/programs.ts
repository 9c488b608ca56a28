/**
 * The programs that `tsvm` consists of, each with its commands. A start loads one of them, since what
 * is not needed takes time to load too. `start.ts`, `main.ts` and `scripts/bundle.ts` read this table.
 */
export interface Program {
  /** Names the files of the bundle: `dist/NAME.js` and `dist/NAME.bytecode`. */
  readonly name: 'container' | 'image' | 'machine' | 'registry';
  /** Its main module in this folder. */
  readonly entry: string;
  /** Its commands; two words for the verbs of a group. */
  readonly commands: readonly string[];
}

/**
 * Docker's verbs that work on what is here. `tsvm image` has the verbs of three programs, which have no
 * name in common: those of qemu-img, for disk images, and of Docker, for container images.
 */
export const CONTAINER_COMMANDS = [
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
  'rmi',
  'save',
  'system',
  'system df',
  'system prune',
  'tag',
] as const;

/** Docker's verbs that may talk to a server: an HTTP client takes longer to load than they do. */
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

const CONTAINER: Program = {
  name: 'container',
  entry: 'container-main.ts',
  commands: CONTAINER_COMMANDS,
};
const REGISTRY: Program = {
  name: 'registry',
  entry: 'registry-main.ts',
  commands: REGISTRY_COMMANDS,
};
const IMAGE: Program = { name: 'image', entry: 'image-main.ts', commands: ['image'] };
/** Also for options and commands that do not exist: its help is that of `tsvm`. */
const MACHINE: Program = {
  name: 'machine',
  entry: 'machine-main.ts',
  commands: ['boot', 'doctor'],
};

export const PROGRAMS: readonly Program[] = [REGISTRY, CONTAINER, IMAGE, MACHINE];

/** Words that verbs follow. */
const GROUPS = ['image', 'system'];

/** The words of a command line that name its command: one, or a group and one of its verbs. */
export function commandWords([first = '', second = '']: readonly string[]): readonly string[] {
  return GROUPS.includes(first) ? [first, second] : [first];
}

/** The program that a command line is for. */
export function findProgram(args: readonly string[]): Program {
  const words = commandWords(args);
  const program = (command: string) => PROGRAMS.find(({ commands }) => commands.includes(command));
  // The rest of a group's verbs is that program's which has the group.
  return program(words.join(' ')) ?? program(words[0] ?? '') ?? MACHINE;
}
