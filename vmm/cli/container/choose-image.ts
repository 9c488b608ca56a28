import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Digest } from '../../container/digest.ts';
import type { ImageConfig } from '../../container/image-config.ts';
import {
  parsePlatform,
  platformMismatch,
  platformText,
  samePlatform,
} from '../../container/platform.ts';
import { familiarText, withDefaultTag } from '../../container/reference.ts';
import type { ImageRecord } from '../../container/store/catalog.ts';
import type { ImageStore } from '../../container/store/image-store.ts';
import { TsvmError } from '../../errors.ts';
import { printMessage } from '../standard-streams.ts';
import { flag, platformOption, text, userReference } from './option-values.ts';

/** An image that a container is made of. */
export interface ChosenImage {
  /** As the user named it. */
  readonly name: string;
  readonly id: Digest;
  readonly layers: readonly Digest[];
  readonly platform: string;
  readonly config: ImageConfig;
}

const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

type Options = Readonly<Record<string, unknown>>;

/** Of `--pull`. */
export const PULL_POLICIES = ['always', 'missing', 'never'];

/** Finds the image of a new container; one that is missing is pulled. @throws TsvmError, PullFailed */
export async function chooseImage(
  store: ImageStore,
  name: string,
  options: Options,
): Promise<ChosenImage> {
  const reference = userReference(name);
  const policy = text(options, 'pull') ?? 'missing';
  let image = policy === 'always' ? undefined : find(store, name, options);
  if (image === undefined && policy !== 'never') {
    if (policy === 'missing') {
      const shown = familiarText(withDefaultTag(reference));
      printMessage(`Unable to find image '${shown}' locally\n`);
    }
    await pull(name, options);
    image = find(store, name, options);
  }
  image ??= store.find(name).image;
  const config = store.content.readConfig(image.id);
  // A registry that has the image for one platform only gives that one.
  const mismatch = platformMismatch(name, config.platform, platformOption(options));
  if (mismatch !== undefined) throw new TsvmError('image-not-found', mismatch);
  const layers = image.layers.map(({ diffId }) => diffId);
  return { name, id: image.id, layers, platform: image.platform, config };
}

function find(store: ImageStore, name: string, options: Options): ImageRecord | undefined {
  try {
    const { image } = store.find(name);
    const wanted = platformOption(options);
    if (wanted === undefined) return image;
    return samePlatform(parsePlatform(image.platform), wanted) ? image : undefined;
  } catch (error) {
    if (error instanceof TsvmError && error.code === 'image-not-found') return undefined;
    throw error;
  }
}

/** By the program that pulls: its HTTP client need not be loaded here. */
async function pull(name: string, options: Options): Promise<void> {
  const [, program = ''] = process.argv;
  const platform = platformOption(options);
  const words = [
    ...['pull', '--no-name'],
    ...(flag(options, 'quiet') ? ['--quiet'] : []),
    ...(platform === undefined ? [] : ['--platform', platformText(platform)]),
    name,
  ];
  // Progress goes to standard error: standard output is the container's.
  const child = spawn(process.execPath, [...process.execArgv, program, ...words], {
    stdio: ['ignore', 2, 2],
  });
  // It ends with this process, which is not always in the foreground of a terminal.
  let ending: NodeJS.Signals | undefined;
  const end = (signal: NodeJS.Signals) => {
    ending = signal;
    child.kill(signal);
  };
  for (const signal of ENDING) process.on(signal, end);
  const [code] = (await once(child, 'exit')) as [number | null];
  for (const signal of ENDING) process.off(signal, end);
  if (ending !== undefined) process.kill(process.pid, ending);
  if (code !== 0) throw new PullFailed();
}

/** The pull has printed why. */
export class PullFailed extends Error {}
