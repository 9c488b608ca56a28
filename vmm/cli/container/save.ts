import { randomBytes } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { findImagesToSave, saveImages } from '../../container/archive/save.ts';
import { TsvmError } from '../../errors.ts';
import { fsPath } from '../../util/byte-names.ts';
import { interruptible } from '../image/interrupt.ts';
import { openStore } from './open-store.ts';
import { text } from './option-values.ts';
import type { Verb } from './verb.ts';

export const saveVerb: Verb = {
  usage: 'save [OPTIONS] IMAGE [IMAGE...]',
  summary: 'Save one or more images to a tar archive (streamed to STDOUT by default)',
  argumentsMin: 1,
  argumentsMax: Number.POSITIVE_INFINITY,
  help: `
The archive is an OCI image layout and a Docker archive at once: "docker load", "podman load", skopeo and
others read it. Layers, and so all digests, are what they were when the image came.

Examples:
  tsvm save -o fridge.tar fridge
  tsvm save fridge busybox | zstd > images.tar.zst`,
  addOptions: (command) =>
    command
      .option('-o, --output <file>', 'writes to a file, instead of STDOUT')
      .option('--platform <platform>', 'is taken and ignored: an image here has one platform'),
  run: async (names, options) => {
    const output = text(options, 'output');
    if (output === undefined && process.stdout.isTTY) {
      throw new TsvmError(
        'invalid-config',
        'cowardly refusing to save to a terminal. Use the -o flag or redirect',
      );
    }
    const store = openStore();
    const images = findImagesToSave(store, names);
    return await interruptible((signal) =>
      store.withContent(async () => {
        const pieces = saveImages(store, images);
        if (output === undefined) await writeToStdout(pieces, signal);
        else await writeToFile(output, pieces, signal);
        return 0;
      }, signal),
    );
  },
};

async function writeToStdout(
  pieces: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  for await (const piece of pieces) {
    signal.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      process.stdout.write(piece, (error) => (error ? reject(error) : resolve()));
    });
  }
}

/** The file appears under its name when it is whole. */
async function writeToFile(
  path: string,
  pieces: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  const name = `.${basename(path)}.${randomBytes(6).toString('hex')}.partial`;
  const unseen = join(dirname(path), name);
  try {
    const file = await open(fsPath(unseen), 'wx', 0o600);
    try {
      for await (const piece of pieces) {
        signal.throwIfAborted();
        await file.writeFile(piece);
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(fsPath(unseen), fsPath(path));
  } catch (error) {
    await rm(fsPath(unseen), { force: true });
    if (!(error instanceof Error && 'syscall' in error)) throw error;
    throw new TsvmError('file-unreadable', `${path} cannot be written: ${error.message}`, {
      cause: error,
    });
  }
}
