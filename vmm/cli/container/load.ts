import { loadImages } from '../../container/archive/load.ts';
import { openArchive } from '../../container/archive/open-archive.ts';
import { familiarText } from '../../container/reference.ts';
import { TsvmError } from '../../errors.ts';
import { interruptible } from '../image/interrupt.ts';
import { isTerminal } from '../output-descriptor.ts';
import { standardInput } from '../standard-input.ts';
import { useThreads } from '../threads.ts';
import { openStore } from './open-store.ts';
import { platformOption, text } from './option-values.ts';
import { type Verb, writeLine } from './verb.ts';

const STDIN = 0;

export const loadVerb: Verb = {
  usage: 'load [OPTIONS]',
  argumentsMin: 0,
  argumentsMax: 0,
  help: `
Loads the output of "docker save" and "podman save", and OCI image layouts: folders, or tar archives that
may be compressed with gzip, zstd, xz or bzip2.

Examples:
  tsvm load -i fridge.tar
  curl -s https://example.com/fridge.tar.zst | tsvm load`,
  addOptions: (command) =>
    command
      .option('-i, --input <file>', 'read from a file or folder instead of STDIN')
      .option('-q, --quiet', 'ignored: only the names are printed')
      .option('--platform <platform>', 'platform to load from a multi-platform image'),
  run: async (_, options) => {
    const input = text(options, 'input');
    if (input === undefined && isTerminal(STDIN)) {
      throw new TsvmError('invalid-config', 'requested load from stdin, but stdin is empty');
    }
    useThreads();
    const platform = platformOption(options);
    const store = openStore();
    return await interruptible((signal) =>
      store.withContent(async () => {
        const source = await openArchive(input ?? standardInput(), store.folders, signal);
        try {
          for (const { id, references } of await loadImages(source, store, { platform, signal })) {
            for (const reference of references) {
              writeLine(`Loaded image: ${familiarText(reference)}`);
            }
            if (references.length === 0) writeLine(`Loaded image ID: ${id}`);
          }
        } finally {
          source.close();
        }
        return 0;
      }, signal),
    );
  },
};
