/** The verbs that Docker has for images, under the names that it gives them. */
import type { CONTAINER_COMMANDS, CONTAINER_IMAGE_VERBS } from '../programs.ts';
import type { Verb } from './verb.ts';

/** Only the verb that is run is loaded. */
type Load = () => Promise<Verb>;

type Command = Exclude<(typeof CONTAINER_COMMANDS)[number], 'system'>;

const VERBS: Readonly<Record<Command, Load>> = {
  history: async () => (await import('./history.ts')).historyVerb,
  images: async () => (await import('./images.ts')).imagesVerb,
  import: async () => (await import('./import.ts')).importVerb,
  inspect: async () => (await import('./inspect.ts')).inspectVerb,
  load: async () => (await import('./load.ts')).loadVerb,
  login: async () => (await import('./login.ts')).loginVerb,
  logout: async () => (await import('./logout.ts')).logoutVerb,
  pull: async () => (await import('./pull.ts')).pullVerb,
  push: async () => (await import('./push.ts')).pushVerb,
  rmi: async () => (await import('./rmi.ts')).rmiVerb,
  save: async () => (await import('./save.ts')).saveVerb,
  tag: async () => (await import('./tag.ts')).tagVerb,
};

/** The other verbs of `tsvm image` are of disk images; see `programs.ts`. */
const IMAGE_VERBS: Readonly<Record<(typeof CONTAINER_IMAGE_VERBS)[number], Load>> = {
  history: async () => (await import('./history.ts')).historyVerb,
  import: async () => (await import('./import.ts')).importVerb,
  inspect: async () => (await import('./inspect.ts')).imageInspectVerb,
  load: async () => (await import('./load.ts')).loadVerb,
  ls: async () => (await import('./images.ts')).imagesVerb,
  list: async () => (await import('./images.ts')).imagesVerb,
  prune: async () => (await import('./prune.ts')).pruneVerb,
  pull: async () => (await import('./pull.ts')).pullVerb,
  push: async () => (await import('./push.ts')).pushVerb,
  rm: async () => (await import('./rmi.ts')).rmiVerb,
  remove: async () => (await import('./rmi.ts')).rmiVerb,
  save: async () => (await import('./save.ts')).saveVerb,
  tag: async () => (await import('./tag.ts')).tagVerb,
};

/** Words that have verbs behind them. */
const GROUPS: Readonly<Record<string, Readonly<Record<string, Load>>>> = {
  image: IMAGE_VERBS,
  system: {
    df: async () => (await import('./system-df.ts')).systemDfVerb,
  },
};

export interface FoundVerb {
  /** What of the command line named it. */
  readonly words: readonly string[];
  /** `tsvm` and the words. */
  readonly name: string;
  readonly load: Load;
}

export function findVerb(args: readonly string[]): FoundVerb | undefined {
  const [first = '', second = ''] = args;
  const group = own(GROUPS, first);
  const load = group === undefined ? own(VERBS, first) : own(group, second);
  if (load === undefined) return undefined;
  const words = group === undefined ? [first] : [first, second];
  return { words, name: `tsvm ${words.join(' ')}`, load };
}

function own<T>(table: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

export function groupHelp(group: string): string {
  const names = Object.keys(own(GROUPS, group) ?? VERBS).sort();
  return `Usage:  tsvm ${group} COMMAND\n\nCommands:\n${names.map((name) => `  ${name}\n`).join('')}`;
}
