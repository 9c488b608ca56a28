import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { TsvmError } from '../../errors.ts';
import { AtomicFile } from '../../host/atomic-file.ts';
import { hasCode } from '../../util/error-code.ts';
import { isTerminal } from '../output-descriptor.ts';
import { writeToStdout } from './archive-output.ts';
import { openContainers } from './containers.ts';
import { completeArchive } from './files/complete-archive.ts';
import { withContainerRoot } from './files/container-root.ts';
import { text } from './option-values.ts';
import { checkOutputPath } from './output-path.ts';
import type { Verb } from './verb.ts';

const STDOUT = 1;

export const exportVerb: Verb = {
  usage: 'export [OPTIONS] CONTAINER',
  argumentsMin: 1,
  argumentsMax: 1,
  help: `
Mounted volumes are left out.

Examples:
  tsvm export -o web.tar web
  tsvm export web | tar -t`,
  addOptions: (command) =>
    command.option('-o, --output <file>', 'write to a file, instead of standard output'),
  run: async ([name = ''], options) => {
    const store = openContainers();
    const container = await store.find(name);
    const output = text(options, 'output');
    if (output !== undefined) checkOutputPath(output, 'export container');
    if (output === undefined && isTerminal(STDOUT)) {
      throw new TsvmError(
        'invalid-config',
        'cowardly refusing to save to a terminal. Use the -o flag or redirect',
      );
    }
    return await withContainerRoot(store, container, async (root) => {
      const archive = await root.archive('root');
      if (output === undefined) {
        return await writeToStdout(archive.compose(completeArchive()));
      }
      using file = openFile(output);
      const target = createWriteStream('', { fd: file.fd, autoClose: false });
      await pipeline(archive, completeArchive(), target);
      file.commit();
      return 0;
    });
  },
};

function openFile(path: string): AtomicFile {
  try {
    return new AtomicFile(path, { mode: 0o600 });
  } catch (cause) {
    if (!hasCode(cause, 'ENOENT', 'EACCES', 'ENOTDIR', 'EROFS')) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new TsvmError('file-unreadable', `failed to export container: ${reason}`, { cause });
  }
}
