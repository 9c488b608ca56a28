import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { parsePlatform, platformText, samePlatform } from '../../container/platform.ts';
import { familiarText, parseReference, withDefaultTag } from '../../container/reference.ts';
import type { ImageRecord } from '../../container/store/catalog.ts';
import type { ImageStore } from '../../container/store/image-store.ts';
import { TsvmError } from '../../errors.ts';
import { printMessage } from '../standard-streams.ts';
import type { ChosenImage } from './create/create-container.ts';
import { flag, text } from './option-values.ts';
import { UsageError } from './verb.ts';

type Options = Readonly<Record<string, unknown>>;

const POLICIES = ['missing', 'always', 'never'];
const EXIT_NO_IMAGE = 125;

/** Finds the image of a new container; one that is missing is pulled. @throws TsvmError, UsageError */
export async function chooseImage(
  store: ImageStore,
  name: string,
  options: Options,
): Promise<ChosenImage> {
  const policy = text(options, 'pull') ?? 'missing';
  if (!POLICIES.includes(policy)) {
    throw new UsageError(
      `invalid pull option: '${policy}': must be one of "always", "missing" or "never"`,
      EXIT_NO_IMAGE,
    );
  }
  let image = policy === 'always' ? undefined : find(store, name, options);
  if (image === undefined && policy !== 'never') {
    if (policy === 'missing') {
      const shown = familiarText(withDefaultTag(parseReference(name)));
      printMessage(`Unable to find image '${shown}' locally\n`);
    }
    await pull(name, options);
    image = find(store, name, options);
  }
  image ??= store.find(name).image;
  const config = store.content.readConfig(image.id);
  const layers = image.layers.map(({ diffId }) => diffId);
  return { name, id: image.id, layers, platform: image.platform, config };
}

function find(store: ImageStore, name: string, options: Options): ImageRecord | undefined {
  try {
    const { image } = store.find(name);
    const platform = text(options, 'platform');
    if (platform === undefined) return image;
    const wanted = parsePlatform(platform);
    return samePlatform(parsePlatform(image.platform), wanted) ? image : undefined;
  } catch (error) {
    if (error instanceof TsvmError && error.code === 'image-not-found') return undefined;
    throw error;
  }
}

/** By the program that pulls: its HTTP client need not be loaded here. */
async function pull(name: string, options: Options): Promise<void> {
  const [, program = ''] = process.argv;
  const platform = text(options, 'platform');
  const words = [
    ...['pull', '--no-name'],
    ...(flag(options, 'quiet') ? ['--quiet'] : []),
    ...(platform === undefined ? [] : ['--platform', platformText(parsePlatform(platform))]),
    name,
  ];
  // Progress goes to standard error: standard output is the container's.
  const child = spawn(process.execPath, [...process.execArgv, program, ...words], {
    stdio: ['ignore', 2, 2],
  });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new PullFailed();
}

/** The pull has printed why. */
export class PullFailed extends Error {}
