/**
 * The programs that `tsvm` consists of, each with its commands. A start loads one of them, since what
 * is not needed takes time to load too. `start.ts`, `main.ts` and `scripts/bundle.ts` read this table.
 */
export interface Program {
  /** Names the files of the bundle: `dist/NAME.js` and `dist/NAME.bytecode`. */
  readonly name: 'container' | 'image' | 'machine';
  /** Its main module in this folder. */
  readonly entry: string;
  /** First words of its command lines. */
  readonly commands: readonly string[];
  /**
   * Verbs of `tsvm image` that are this program's. That command has the verbs of two programs, which
   * have no name in common: those of qemu-img, for disk images, and of Docker, for container images.
   */
  readonly imageVerbs?: readonly string[];
}

export const CONTAINER_COMMANDS = [
  'history',
  'images',
  'import',
  'inspect',
  'load',
  'login',
  'logout',
  'pull',
  'push',
  'rmi',
  'save',
  'system',
  'tag',
] as const;

export const CONTAINER_IMAGE_VERBS = [
  'history',
  'import',
  'inspect',
  'list',
  'load',
  'ls',
  'prune',
  'pull',
  'push',
  'remove',
  'rm',
  'save',
  'tag',
] as const;

const CONTAINER: Program = {
  name: 'container',
  entry: 'container-main.ts',
  commands: CONTAINER_COMMANDS,
  imageVerbs: CONTAINER_IMAGE_VERBS,
};
const IMAGE: Program = { name: 'image', entry: 'image-main.ts', commands: ['image'] };
/** Also for options and commands that do not exist: its help is that of `tsvm`. */
const MACHINE: Program = {
  name: 'machine',
  entry: 'machine-main.ts',
  commands: ['boot', 'doctor'],
};

export const PROGRAMS: readonly Program[] = [CONTAINER, IMAGE, MACHINE];

/** The program that a command line is for. */
export function findProgram(args: readonly string[]): Program {
  const [command = '', verb = ''] = args;
  return (
    PROGRAMS.find((program) =>
      command === 'image' ? program.imageVerbs?.includes(verb) : program.commands.includes(command),
    ) ?? (command === 'image' ? IMAGE : MACHINE)
  );
}
