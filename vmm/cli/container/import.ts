import { createReadStream, statSync } from 'node:fs';
import { addAbortSignal } from 'node:stream';
import { importArchive } from '../../container/import-archive.ts';
import { withDefaultTag } from '../../container/reference.ts';
import { expectOk, givenUrl, RegistryHttp } from '../../container/registry/registry-http.ts';
import { TsvmError } from '../../errors.ts';
import { fsPath } from '../../util/byte-names.ts';
import { hasCode } from '../../util/error-code.ts';
import { interruptible } from '../image/interrupt.ts';
import { standardInput } from '../standard-input.ts';
import { applyChanges } from './config-changes.ts';
import { openStore } from './open-store.ts';
import { platformOption, text, texts, userReference } from './option-values.ts';
import { collect, type Verb, writeLine } from './verb.ts';

export const importVerb: Verb = {
  usage: 'import [OPTIONS] file|URL|- [REPOSITORY[:TAG]]',
  argumentsMin: 1,
  // As Docker, which ignores what follows the name.
  argumentsMax: Number.POSITIVE_INFINITY,
  help: `
Examples:
  tsvm import rootfs.tar.zst fridge:new
  tar -C tree -c . | tsvm import -c 'CMD ["/bin/sh"]' - fridge`,
  addOptions: (command) =>
    command
      .option(
        '-c, --change <instruction>',
        'apply a Dockerfile instruction: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, ' +
          'VOLUME or WORKDIR',
        collect,
      )
      .option('-m, --message <text>', 'commit message for the image')
      .option('--platform <platform>', 'platform of the image'),
  run: async ([source = '', name], options) => {
    const reference = name === undefined ? undefined : withDefaultTag(userReference(name));
    const run = applyChanges(texts(options, 'change'));
    const comment = text(options, 'message') ?? `Imported from ${source}`;
    const platform = platformOption(options);
    return await interruptible(async (signal) => {
      const { bytes, close } = await openSource(source, signal);
      try {
        const request = { bytes, run, comment, platform, reference, signal };
        writeLine(await importArchive(openStore(), request));
        return 0;
      } finally {
        await close();
      }
    });
  },
};

interface OpenedSource {
  readonly bytes: AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

async function openSource(source: string, signal: AbortSignal): Promise<OpenedSource> {
  if (source === '-') {
    return { bytes: addAbortSignal(signal, standardInput()), close: async () => {} };
  }
  if (/^https?:\/\//.test(source)) {
    const url = givenUrl(source);
    const http = new RegistryHttp({ insecure: source.startsWith('http:'), ca: undefined });
    const answer = await http.send({ method: 'GET', url, signal });
    await expectOk(answer, url);
    return { bytes: answer.body, close: () => http.close() };
  }
  if (statSync(fsPath(source), { throwIfNoEntry: false })?.isDirectory()) {
    throw new TsvmError(
      'file-unreadable',
      `read ${source}: is a directory: give a tar archive of it`,
    );
  }
  const file = createReadStream(fsPath(source), { highWaterMark: 2 ** 20 });
  await new Promise<void>((resolve, reject) => {
    file.once('ready', resolve).once('error', (cause) => {
      const missing = hasCode(cause, 'ENOENT');
      const reason = missing ? 'no such file or directory' : cause.message;
      reject(new TsvmError('file-unreadable', `open ${source}: ${reason}`, { cause }));
    });
  });
  return { bytes: file, close: async () => void file.destroy() };
}
