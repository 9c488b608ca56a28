/**
 * The programs that tsvm is made of, and which of them a command line is for. A start loads one: what
 * is not needed takes time to load as well.
 */
export type ProgramName = 'cli' | 'container' | 'image';

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

/**
 * `tsvm image` has the verbs of two programs, which have no name in common: qemu-img's, for disk
 * images, and these of Docker's, for the images of containers.
 */
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

export function programName(args: readonly string[]): ProgramName {
  const [command = '', verb = ''] = args;
  if (command === 'image') return includes(CONTAINER_IMAGE_VERBS, verb) ? 'container' : 'image';
  return includes(CONTAINER_COMMANDS, command) ? 'container' : 'cli';
}

function includes(names: readonly string[], name: string): boolean {
  return names.includes(name);
}
