import { writeFile } from 'node:fs';
import { promisify } from 'node:util';
import { findImagesToSave, saveImages } from '../../container/archive/save.ts';
import { TsvmError } from '../../errors.ts';
import { AtomicFile } from '../../host/atomic-file.ts';
import { interruptible } from '../image/interrupt.ts';
import { isTerminal } from '../output-descriptor.ts';
import { writeToStdout } from './archive-output.ts';
import { openStore } from './open-store.ts';
import { text } from './option-values.ts';
import { checkOutputPath } from './output-path.ts';
import type { Verb } from './verb.ts';

/** Writes all bytes at the end of an open file. */
const appendTo = promisify(writeFile) as (fd: number, bytes: Uint8Array) => Promise<void>;
const STDOUT = 1;

export const saveVerb: Verb = {
  usage: 'save [OPTIONS] IMAGE [IMAGE...]',
  argumentsMin: 1,
  argumentsMax: Number.POSITIVE_INFINITY,
  help: `
The archive is both an OCI image layout and a Docker archive, for "docker load", "podman load", skopeo and
others. Layers are stored as they were downloaded, so digests do not change.

Examples:
  tsvm save -o fridge.tar fridge
  tsvm save fridge busybox | zstd > images.tar.zst`,
  addOptions: (command) =>
    command
      .option('-o, --output <file>', 'write to a file instead of STDOUT')
      .option('--platform <platform>', 'ignored: stored images have one platform'),
  run: async (names, options) => {
    const output = text(options, 'output');
    if (output === undefined && isTerminal(STDOUT)) {
      throw new TsvmError(
        'invalid-config',
        'cowardly refusing to save to a terminal. Use the -o flag or redirect',
      );
    }
    if (output !== undefined) checkOutputPath(output, 'save image');
    const store = openStore();
    const images = findImagesToSave(store, names);
    return await interruptible((signal) =>
      store.withContent(async () => {
        const pieces = saveImages(store, images);
        if (output === undefined) return writeToStdout(pieces, signal);
        await writeToFile(output, pieces, signal);
        return 0;
      }, signal),
    );
  },
};

/** The file appears under its name when it is complete. */
async function writeToFile(
  path: string,
  pieces: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  try {
    using file = new AtomicFile(path, { durable: true });
    for await (const piece of pieces) {
      signal.throwIfAborted();
      await appendTo(file.fd, piece);
    }
    file.commit();
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error)) throw error;
    throw new TsvmError('file-unreadable', `${path} cannot be written: ${error.message}`, {
      cause: error,
    });
  }
}
