import type { CONTAINER_COMMANDS, CONTAINER_VERBS, REGISTRY_COMMANDS } from '../programs.ts';

type Command =
  | (typeof CONTAINER_VERBS)[number]
  | (typeof CONTAINER_COMMANDS)[number]
  | (typeof REGISTRY_COMMANDS)[number];
type VerbName = Exclude<Command, 'system'>;

/** Docker's descriptions of the verbs. */
export const SUMMARIES: Readonly<Record<VerbName, string>> = {
  attach: 'Attach to a running container',
  create: 'Create a container without starting it',
  exec: 'Run a program in a running container',
  history: 'Show the history of an image',
  'image history': 'Show the history of an image',
  'image import': 'Import the contents from a tarball to create a filesystem image',
  'image inspect': 'Display detailed information on one or more images',
  'image list': 'List images',
  'image load': 'Load an image from a tar archive or STDIN',
  'image ls': 'List images',
  'image prune': 'Remove unused images of containers',
  'image pull': 'Download an image from a registry',
  'image push': 'Upload an image to a registry',
  'image remove': 'Remove one or more images',
  'image rm': 'Remove one or more images',
  'image save': 'Save one or more images to a tar archive (streamed to STDOUT by default)',
  'image tag': 'Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE',
  images: 'List images',
  import: 'Import the contents from a tarball to create a filesystem image',
  inspect: 'Return low-level information on images',
  kill: 'Kill containers or machines',
  load: 'Load an image from a tar archive or STDIN',
  login: 'Authenticate to a registry',
  logout: 'Log out from a registry',
  pause: 'Pause containers or a machine',
  pull: 'Download an image from a registry',
  push: 'Upload an image to a registry',
  rename: 'Rename a container',
  restart: 'Stop and start containers',
  rm: 'Remove containers',
  rmi: 'Remove one or more images',
  run: 'Create and run a container from an image',
  save: 'Save one or more images to a tar archive (streamed to STDOUT by default)',
  start: 'Start stopped containers',
  stop: 'Stop containers or a machine',
  'system df': 'Show disk usage',
  'system prune': 'Remove unused data',
  tag: 'Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE',
  unpause: 'Let paused containers go on',
  wait: 'Wait until containers end, then print their exit codes',
};

/** Other names of verbs that the list shows. */
const ALIASES = ['image list', 'image remove'];

/** The verbs of a group, a line each; without a group those that have none, and `system df`. */
export function verbLines(group?: string): string {
  return Object.entries(SUMMARIES)
    .filter(([name]) => {
      if (ALIASES.includes(name)) return false;
      return group === undefined ? !name.startsWith('image ') : name.startsWith(`${group} `);
    })
    .map(([name, summary]) => {
      const shown = group === undefined ? name : name.slice(group.length + 1);
      return `  ${shown.padEnd(13)}${summary}`;
    })
    .join('\n');
}
