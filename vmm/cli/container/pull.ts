import { Option } from 'commander';
import { platformMismatch } from '../../container/platform.ts';
import { pullImage } from '../../container/pull.ts';
import {
  DEFAULT_TAG,
  familiarName,
  familiarText,
  type Reference,
  referenceText,
  withDefaultTag,
} from '../../container/reference.ts';
import {
  openMirrors,
  openRegistry,
  type RegistryClient,
} from '../../container/registry/registry-client.ts';
import { listTags } from '../../container/registry/tags.ts';
import { TsvmError } from '../../errors.ts';
import { interruptible } from '../image/interrupt.ts';
import { printMessage } from '../standard-streams.ts';
import { LayerLines } from './layer-lines.ts';
import { openStore } from './open-store.ts';
import { flag, platformOption, userReference } from './option-values.ts';
import { pullLines } from './pull-lines.ts';
import { type Verb, warnUser, writeLine } from './verb.ts';

export const pullVerb: Verb = {
  usage: 'pull [OPTIONS] NAME[:TAG|@DIGEST]',
  argumentsMin: 1,
  argumentsMax: 1,
  help: `
Plain HTTP is allowed for registries on this host, with --insecure, or by registries.json in
~/.config/tsvm or /etc/tsvm: {"HOST": {"mirrors": [URL], "ca": FILE, "insecure": true}}.

Examples:
  tsvm pull busybox
  tsvm pull --platform linux/arm64 alpine:3.20
  tsvm pull -a localhost:5000/tools/fridge
  tsvm pull localhost:5000/tools/fridge@sha256:...`,
  addOptions: (command) =>
    command
      .option('-a, --all-tags', 'pull all tags of the repository')
      .option('--disable-content-trust', 'ignored: there is no content trust')
      .option('--insecure', 'allow plain HTTP and unknown certificates')
      .option('--platform <platform>', 'platform to pull from a multi-platform image')
      .option('-q, --quiet', 'only print the name')
      // For a pull on behalf of another verb.
      .addOption(new Option('--no-name', 'do not print the name').hideHelp()),
  run: async ([name = ''], options) => {
    const quiet = flag(options, 'quiet');
    const all = flag(options, 'allTags');
    const given = userReference(name);
    if (all && (given.tag !== undefined || given.digest !== undefined)) {
      throw new TsvmError('invalid-config', "tag can't be used with --all-tags/-a");
    }
    const reference = all ? given : withDefaultTag(given);
    const named = options['name'] !== false;
    if (given !== reference && !quiet && named) writeLine(`Using default tag: ${DEFAULT_TAG}`);
    const platform = platformOption(options);
    const store = openStore();
    const access = { insecure: flag(options, 'insecure'), warn: warnUser };
    const clients = [
      ...openMirrors(reference.domain, access),
      openRegistry(reference.domain, access),
    ];
    return await interruptible(async (signal) => {
      try {
        const tags = all
          ? await firstThatHas(clients, (client) => listTags(client, reference.path, signal))
          : [reference.tag];
        let upToDate = true;
        let mismatch: string | undefined;
        for (const tag of tags) {
          const one = { ...reference, tag };
          const lines = new LayerLines(quiet);
          const progress = pullLines(lines, one);
          try {
            const pulled = await firstThatHas(clients, (client) =>
              pullImage(store, client, one, { platform, signal, progress }),
            );
            upToDate &&= pulled.upToDate;
            const found = store.content.readConfig(pulled.id).platform;
            mismatch ??= platformMismatch(referenceText(one), found, platform);
            lines.end();
            if (!quiet) writeLine(`Digest: ${pulled.digest}`);
          } finally {
            lines.end();
          }
        }
        if (!quiet) {
          const status = upToDate ? 'Image is up to date' : 'Downloaded newer image';
          writeLine(`Status: ${status} for ${familiarText(reference)}`);
          if (mismatch !== undefined) writeLine(`WARNING: ${mismatch}`);
        }
        if (named) writeLine(referenceText(reference));
        return 0;
      } catch (error) {
        throw explained(error, reference);
      } finally {
        for (const client of clients) await client.close();
      }
    });
  },
};

/** Tries mirrors first and the registry itself last, whose error is the one reported. */
async function firstThatHas<T>(
  clients: readonly RegistryClient[],
  work: (client: RegistryClient) => Promise<T>,
): Promise<T> {
  for (const client of clients.slice(0, -1)) {
    try {
      return await work(client);
    } catch (error) {
      // What is wrong with this host is so with the next registry as well.
      if (error instanceof TsvmError && error.code === 'store-failed') throw error;
      if (!(error instanceof Error) || error.name === 'AbortError') throw error;
      printMessage(`tsvm: the mirror ${client.host} failed: ${error.message}\n`);
    }
  }
  const last = clients.at(-1);
  if (last === undefined) throw new TsvmError('registry-failed', 'there is no registry to ask');
  return await work(last);
}

/** The message of Docker's engine when a registry denies access. */
export function explained(error: unknown, reference: Reference): unknown {
  if (!(error instanceof Error)) return error;
  if (error.name === 'PassingFailure') {
    return new TsvmError('registry-failed', error.message, { cause: error });
  }
  if (!(error instanceof TsvmError) || error.code !== 'registry-denied') return error;
  return new TsvmError(
    'registry-denied',
    `pull access denied for ${familiarName(reference)}, repository does not exist or may require ` +
      `'tsvm login': ${error.message}`,
    { cause: error },
  );
}
