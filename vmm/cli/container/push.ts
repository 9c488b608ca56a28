import { type PushProgress, pushImage } from '../../container/push.ts';
import {
  DEFAULT_TAG,
  familiarName,
  familiarText,
  type Reference,
  repositoryName,
  withDefaultTag,
} from '../../container/reference.ts';
import { openRegistry } from '../../container/registry/registry-client.ts';
import { TsvmError } from '../../errors.ts';
import { interruptible } from '../image/interrupt.ts';
import { LayerLines } from './layer-lines.ts';
import { openStore } from './open-store.ts';
import { flag, userReference } from './option-values.ts';
import { explained } from './pull.ts';
import { humanSize } from './units.ts';
import { type Verb, warnUser, writeLine } from './verb.ts';

export const pushVerb: Verb = {
  usage: 'push [OPTIONS] NAME[:TAG]',
  argumentsMin: 1,
  argumentsMax: 1,
  help: `
Examples:
  tsvm tag fridge localhost:5000/fridge
  tsvm push localhost:5000/fridge`,
  addOptions: (command) =>
    command
      .option('-a, --all-tags', 'push all tags of the repository')
      .option('--disable-content-trust', 'ignored: there is no content trust')
      .option('--insecure', 'allow plain HTTP and unknown certificates')
      .option('--platform <platform>', 'ignored: stored images have one platform')
      .option('-q, --quiet', 'only print the name'),
  run: async ([name = ''], options) => {
    const given = userReference(name);
    const quiet = flag(options, 'quiet');
    const all = flag(options, 'allTags');
    if (all && given.tag !== undefined) {
      throw new TsvmError('invalid-config', "tag can't be used with --all-tags/-a");
    }
    if (given.digest !== undefined) {
      throw new TsvmError('invalid-config', 'cannot push a digest reference');
    }
    if (!all && given.tag === undefined && !quiet) writeLine(`Using default tag: ${DEFAULT_TAG}`);
    const references = all ? tagsOf(given) : [withDefaultTag(given)];
    if (!quiet) writeLine(`The push refers to repository [${repositoryName(given)}]`);
    const client = openRegistry(given.domain, {
      insecure: flag(options, 'insecure'),
      warn: warnUser,
    });
    return await interruptible(async (signal) => {
      try {
        for (const reference of references) await push(client, reference, quiet, signal);
        return 0;
      } finally {
        await client.close();
      }
    });
  },
};

function tagsOf(repository: Reference): Reference[] {
  const name = familiarName(repository);
  const tags = openStore()
    .catalog.read()
    .flatMap((image) => image.tags)
    .map(userReference)
    .filter((reference) => familiarName(reference) === name);
  if (tags.length > 0) return tags;
  throw noImage(name);
}

function noImage(name: string): TsvmError {
  return new TsvmError('image-not-found', `An image does not exist locally with the tag: ${name}`);
}

async function push(
  client: ReturnType<typeof openRegistry>,
  reference: Reference,
  quiet: boolean,
  signal: AbortSignal,
): Promise<void> {
  const store = openStore();
  const lines = new LayerLines(quiet);
  const images = store.catalog.read();
  const image = images.find(({ tags }) =>
    tags.some((tag) => familiarText(userReference(tag)) === familiarText(reference)),
  );
  if (image === undefined) throw noImage(familiarName(reference));
  try {
    const { digest, sizeBytes } = await pushImage(
      store,
      client,
      image,
      reference,
      pushLines(lines, reference),
      signal,
    );
    lines.end();
    if (quiet) writeLine(`${repositoryName(reference)}:${reference.tag}`);
    else writeLine(`${reference.tag}: digest: ${digest} size: ${sizeBytes}`);
  } catch (error) {
    lines.end();
    // For a push, Docker prints only the registry's message.
    const told = explained(error, reference);
    throw told instanceof TsvmError && told.code === 'registry-denied' ? error : told;
  }
}

function pushLines(lines: LayerLines, { path }: Reference): PushProgress {
  return {
    layers: (digests) => {
      for (const digest of digests) lines.state(digest, 'Preparing');
    },
    sent: (digest, bytes, totalBytes) =>
      lines.bar(digest, 'Pushing', bytes, totalBytes, humanSize(bytes)),
    done: (digest, outcome) => {
      const states = {
        present: 'Layer already exists',
        mounted: `Mounted into ${path}`,
        uploaded: 'Pushed',
      };
      lines.state(digest, states[outcome]);
    },
  };
}
