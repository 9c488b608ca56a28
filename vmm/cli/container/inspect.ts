import { stringAt } from '../../container/json.ts';
import { openNetworkStore } from '../../container/networks/network-store.ts';
import { familiarText, parseReference } from '../../container/reference.ts';
import type { ImageRecord } from '../../container/store/catalog.ts';
import type { ImageStore } from '../../container/store/image-store.ts';
import { openVolumeStore } from '../../container/volumes/volume-store.ts';
import { TsvmError } from '../../errors.ts';
import { print, printMessage } from '../standard-streams.ts';
import { containerDetails } from './container-details.ts';
import { openContainers } from './containers.ts';
import { errorText } from './error-text.ts';
import { imageBytes } from './images.ts';
import { networkDetails } from './networks/network-inspect.ts';
import { openStore } from './open-store.ts';
import { flag, text } from './option-values.ts';
import { Template } from './template/template.ts';
import { type Verb, writeLine } from './verb.ts';
import { volumeDetails } from './volumes/volume-inspect.ts';

/** Docker's, for a template that is no template. */
const EXIT_BAD_TEMPLATE = 64;
/** Docker's; of these, there are containers, images, networks and volumes here. */
const TYPES = [
  ...['config', 'container', 'image', 'network', 'node', 'plugin', 'secret', 'service', 'task'],
  'volume',
];

const HELP = `
Examples:
  tsvm inspect fridge
  tsvm inspect -f '{{.Id}} {{json .Config.Env}}' fridge busybox`;

export const inspectVerb: Verb = {
  usage: 'inspect [OPTIONS] NAME|ID [NAME|ID...]',
  argumentsMin: 1,
  argumentsMax: Number.POSITIVE_INFINITY,
  help: HELP,
  addOptions: (command) =>
    command
      .option('-f, --format <format>', 'json or a Go template')
      .option('-s, --size', 'show the size of what each container has written')
      .option('--type <type>', 'only objects of this type: container, image, network or volume'),
  run: async (names, options) => {
    const type = text(options, 'type');
    if (type !== undefined && !TYPES.includes(type)) {
      throw new TsvmError(
        'invalid-config',
        `unknown type: "${type}": must be one of "${TYPES.join('", "')}"`,
      );
    }
    return await inspect(names, text(options, 'format') ?? '', type, flag(options, 'size'));
  },
};

export const imageInspectVerb: Verb = {
  usage: 'inspect [OPTIONS] IMAGE [IMAGE...]',
  argumentsMin: 1,
  argumentsMax: Number.POSITIVE_INFINITY,
  help: HELP,
  addOptions: (command) =>
    command
      .option('-f, --format <format>', 'json or a Go template')
      .option('--platform <platform>', 'ignored: stored images have one platform'),
  run: async (names, options) => await inspect(names, text(options, 'format') ?? '', 'image'),
};

export const containerInspectVerb: Verb = {
  usage: 'inspect [OPTIONS] CONTAINER [CONTAINER...]',
  argumentsMin: 1,
  argumentsMax: Number.POSITIVE_INFINITY,
  help: `
Examples:
  tsvm container inspect web
  tsvm container inspect -f '{{.State.Status}}' web`,
  addOptions: (command) =>
    command
      .option('-f, --format <format>', 'json or a Go template')
      .option('-s, --size', 'show the size of what each has written'),
  run: async (names, options) =>
    await inspect(names, text(options, 'format') ?? '', 'container', flag(options, 'size')),
};

async function inspect(
  names: readonly string[],
  format: string,
  type: string | undefined,
  withSize = false,
): Promise<number> {
  const isJson = format === '' || format === 'json';
  let template: Template | undefined;
  try {
    template = isJson ? undefined : new Template(format);
  } catch (error) {
    if (!(error instanceof TsvmError)) throw error;
    printMessage(`${error.message}\n`);
    return EXIT_BAD_TEMPLATE;
  }
  const store = openStore();
  const images = store.catalog.read();
  const found: object[] = [];
  const lines: string[] = [];
  const errors: string[] = [];
  for (const name of names) {
    try {
      const details = await detailsOf(name, type, withSize, (each) =>
        imageDetails(store, store.find(each, images).image),
      );
      if (template === undefined) found.push(details);
      else lines.push(template.fill(details));
    } catch (error) {
      if (!(error instanceof TsvmError)) throw error;
      errors.push(inspectError(error, name, type));
    }
  }
  if (template !== undefined) print(`${lines.join('\n')}\n`);
  else if (found.length === 0) writeLine('[]');
  else writeLine(JSON.stringify(found, undefined, format === '' ? 4 : undefined));
  if (errors.length === 0) return 0;
  printMessage(`${errors.join('\n')}\n`);
  return 1;
}

/** A container counts more than an image of the same name. */
async function detailsOf(
  name: string,
  type: string | undefined,
  withSize: boolean,
  imageOf: (name: string) => object,
): Promise<object> {
  if (type === undefined || type === 'container') {
    const containers = openContainers();
    if (type !== undefined || containers.has(name)) {
      return containerDetails(containers, await containers.find(name), withSize);
    }
  }
  if (type === 'network') return networkDetails(openNetworkStore(), name);
  if (type === 'volume') return volumeDetails(openVolumeStore(), name);
  if (type !== undefined && type !== 'image') throw new TsvmError('image-not-found', '');
  try {
    return imageOf(name);
  } catch (error) {
    const isMissing =
      error instanceof TsvmError && /^(?:image-not-found|invalid-reference)$/.test(error.code);
    const other = isMissing && type === undefined ? otherDetails(name) : undefined;
    if (other === undefined) throw error;
    return other;
  }
}

/** Of a network or volume, whose names count less. */
function otherDetails(name: string): object | undefined {
  try {
    return networkDetails(openNetworkStore(), name);
  } catch (error) {
    if (!(error instanceof TsvmError && error.code === 'network-not-found')) throw error;
  }
  const volumes = openVolumeStore();
  return volumes.read(name) === undefined ? undefined : volumeDetails(volumes, name);
}

function inspectError(error: TsvmError, name: string, type: string | undefined): string {
  const isUnknown = /^(?:(?:image|network|volume)-not-found|invalid-reference)$/.test(error.code);
  if (!isUnknown) return errorText(error);
  if (type === undefined) return `error: no such object: ${name}`;
  return type !== 'container' && error.message !== ''
    ? errorText(error)
    : `Error response from daemon: No such ${type}: ${name}`;
}

/** The fields of `docker inspect` for an image that exist here. */
export function imageDetails(store: ImageStore, image: ImageRecord): object {
  const config = store.content.readConfig(image.id);
  const { json, run, platform } = config;
  const sizeBytes = imageBytes(image);
  const created = stringAt(json, 'created');
  return {
    Id: image.id,
    RepoTags: image.tags.map(shown),
    RepoDigests: image.digests.map(shown),
    Parent: '',
    Comment: config.history.at(-1)?.comment ?? '',
    ...(created !== undefined && { Created: created }),
    DockerVersion: stringAt(json, 'docker_version') ?? '',
    Author: stringAt(json, 'author') ?? '',
    Config: run,
    Architecture: platform.architecture,
    ...(platform.variant !== undefined && { Variant: platform.variant }),
    Os: platform.os,
    Size: sizeBytes,
    VirtualSize: sizeBytes,
    RootFS: { Type: 'layers', Layers: image.layers.map(({ diffId }) => diffId) },
    Metadata: { LastTagTime: new Date(image.taggedMs).toISOString() },
    Descriptor: {
      mediaType: store.content.readManifest(image.manifest).mediaType,
      digest: image.manifest,
      size: store.content.blobBytes(image.manifest) ?? 0,
    },
  };
}

function shown(name: string): string {
  return familiarText(parseReference(name));
}
