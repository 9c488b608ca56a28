import { type CONTAINER_COMMANDS, CONTAINER_VERBS, type REGISTRY_COMMANDS } from '../programs.ts';

type Command =
  | (typeof CONTAINER_VERBS)[number]
  | (typeof CONTAINER_COMMANDS)[number]
  | (typeof REGISTRY_COMMANDS)[number];
type VerbName = Exclude<Command, 'container' | 'network' | 'system' | 'volume'>;

/** Docker's descriptions of the verbs. */
export const SUMMARIES: Readonly<Record<VerbName, string>> = {
  attach: 'Attach to a running container',
  commit: "Create an image from a container's changes",
  'container inspect': 'Display detailed information on one or more containers',
  'container list': 'List containers',
  'container ls': 'List containers',
  'container prune': 'Remove all stopped containers',
  cp: 'Copy files between a container and this host',
  create: 'Create a container without starting it',
  diff: "Show what differs in a container's files from its image",
  events: 'Show what happens to containers, as it happens',
  exec: 'Run a program in a running container',
  export: "Export a container's files as a tar archive",
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
  inspect: 'Return low-level information on containers and images',
  kill: 'Kill containers or machines',
  load: 'Load an image from a tar archive or STDIN',
  login: 'Authenticate to a registry',
  logout: 'Log out from a registry',
  logs: 'Show the output of a container',
  'network connect': 'Connect a container to a network',
  'network create': 'Create a network',
  'network disconnect': 'Disconnect a container from a network',
  'network inspect': 'Display detailed information on one or more networks',
  'network list': 'List networks',
  'network ls': 'List networks',
  'network prune': 'Remove all unused networks',
  'network remove': 'Remove one or more networks',
  'network rm': 'Remove one or more networks',
  pause: 'Pause containers or a machine',
  port: "List a container's published ports",
  ps: 'List containers',
  pull: 'Download an image from a registry',
  push: 'Upload an image to a registry',
  rename: 'Rename a container',
  restart: 'Stop and start containers',
  rm: 'Remove containers',
  rmi: 'Remove one or more images',
  run: 'Create and run a container from an image',
  save: 'Save one or more images to a tar archive (streamed to STDOUT by default)',
  start: 'Start stopped containers',
  stats: 'Show what containers use, as it changes',
  stop: 'Stop containers or a machine',
  'system df': 'Show disk usage',
  'system install': 'Start containers with restart policies when the host boots',
  'system prune': 'Remove unused data',
  'system start-containers': 'Start containers as after a reboot',
  tag: 'Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE',
  top: 'Show the processes of a container',
  unpause: 'Let paused containers go on',
  update: 'Change limits and restart policies of containers',
  'volume create': 'Create a volume',
  'volume inspect': 'Display detailed information on one or more volumes',
  'volume list': 'List volumes',
  'volume ls': 'List volumes',
  'volume prune': 'Remove unused local volumes',
  'volume remove': 'Remove one or more volumes',
  'volume rm': 'Remove one or more volumes',
  wait: 'Wait until containers end, then print their exit codes',
};

/** Other names of verbs that the list shows. */
const ALIASES = [
  ...['container list', 'image list', 'image remove', 'network list', 'network remove'],
  ...['volume list', 'volume remove'],
];

/** The groups whose verbs are listed apart. Commander lists `image`. */
const GROUP_SUMMARIES = {
  container: 'Manage containers',
  network: 'Manage networks',
  volume: 'Manage volumes',
};
const GROUPS = [...Object.keys(GROUP_SUMMARIES), 'image'];

/**
 * The verbs of a group, a line each. `container` has all verbs for containers; without a group those
 * that need none, `system df`, and the groups.
 */
export function verbLines(group?: string): string {
  return Object.entries({ ...SUMMARIES, ...(group === undefined && GROUP_SUMMARIES) })
    .filter(([name]) => !ALIASES.includes(name) && isIn(name, group))
    .map(([name, summary]) => {
      const shown = group === undefined ? name : name.replace(`${group} `, '');
      return `  ${`${shown} `.padEnd(13)}${summary}`;
    })
    .sort()
    .join('\n');
}

function isIn(name: string, group: string | undefined): boolean {
  if (group === undefined) return !GROUPS.some((one) => name.startsWith(`${one} `));
  const isVerb = group === 'container' && CONTAINER_VERBS.some((verb) => verb === name);
  return isVerb || name.startsWith(`${group} `);
}
