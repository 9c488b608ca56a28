import { CommanderError } from 'commander';
import { TsvmError } from '../../errors.ts';
import { adoptCommand } from '../adopt-command.ts';
import { verbLines } from '../container/verb-list.ts';
import { print, printMessage } from '../standard-streams.ts';
import { versionText } from '../version.ts';
import { EXIT_COMPARE_NOT_OPENED, EXIT_DONE, EXIT_FAILED } from './exit-codes.ts';
import type { Verb } from './verb.ts';

const VERBS: Readonly<Record<string, Verb>> = {
  amend: {
    summary: 'Changes options of a qcow2 image.',
    load: async () => ({ createCommand: (await import('./amend.ts')).amendCommand }),
  },
  bench: {
    summary: 'Measures the speed of reading or writing an image.',
    load: async () => ({ createCommand: (await import('./bench.ts')).benchCommand }),
  },
  bitmap: {
    summary: 'Creates, changes, merges or removes bitmaps of a qcow2 image.',
    load: async () => ({ createCommand: (await import('./bitmap.ts')).bitmapCommand }),
  },
  check: {
    summary: 'Finds and repairs errors in a qcow2 image.',
    load: async () => {
      const verb = await import('./check.ts');
      return { createCommand: verb.checkCommand, arrange: verb.withRepairMode };
    },
  },
  commit: {
    summary: 'Writes the content of an image into its backing image.',
    load: async () => ({ createCommand: (await import('./commit.ts')).commitCommand }),
  },
  compare: {
    summary: 'Compares the contents of two images.',
    load: async () => ({ createCommand: (await import('./compare.ts')).compareCommand }),
  },
  convert: {
    summary: 'Copies images into a new one, possibly of another format.',
    load: async () => ({ createCommand: (await import('./convert.ts')).convertCommand }),
  },
  create: {
    summary: 'Creates a new, empty image.',
    load: async () => ({ createCommand: (await import('./create.ts')).createCommand }),
  },
  dd: {
    summary: 'Copies a part of an image into a new one.',
    load: async () => ({ createCommand: (await import('./dd.ts')).ddCommand }),
  },
  info: {
    summary: 'Shows information about an image.',
    load: async () => ({ createCommand: (await import('./info.ts')).infoCommand }),
  },
  map: {
    summary: 'Shows which parts of an image have content, and where.',
    load: async () => ({ createCommand: (await import('./map.ts')).mapCommand }),
  },
  measure: {
    summary: 'Calculates the space that a new image will take.',
    load: async () => ({ createCommand: (await import('./measure.ts')).measureCommand }),
  },
  rebase: {
    summary: 'Gives an image another backing image.',
    load: async () => ({ createCommand: (await import('./rebase.ts')).rebaseCommand }),
  },
  resize: {
    summary: 'Changes the size of an image.',
    load: async () => {
      const verb = await import('./resize.ts');
      return { createCommand: verb.resizeCommand, arrange: verb.withSizeLast };
    },
  },
  snapshot: {
    summary: 'Lists, takes, applies or deletes snapshots inside an image.',
    load: async () => ({ createCommand: (await import('./snapshot.ts')).snapshotCommand }),
  },
};

const HELP = `Usage: tsvm image <verb> [options] <file>

Creates and changes disk images in the formats raw and qcow2, and reads vmdk, vhdx and vpc (VHD) images.
Options, output and exit codes are those of qemu-img.

Verbs for disk images:
${Object.entries(VERBS)
  .map(([name, { summary }]) => `  ${name.padEnd(13)}${summary}`)
  .join('\n')}

The format of an image is given by -f, else by its name: .qcow2, .vmdk, .vhdx or .vhd; everything else is
raw. It is never guessed from the content, which a guest may have written: where name and content
disagree, -f is needed. Backing files are opened only in the image's folder or below it, unless --backing
allow is given.

Docker's verbs for images of containers:
${verbLines('image')}

Examples:
  tsvm image create data.qcow2 100G
  tsvm image convert -O qcow2 disk.vmdk disk.qcow2
  tsvm image info disk.qcow2
  tsvm image ls
  tsvm image prune -a

Every verb has --help.
`;

/** Runs `tsvm image ARGS...`. @returns the exit code */
export async function runImage(args: readonly string[]): Promise<number> {
  const [name = '--help', ...rest] = args;
  if (name === '--help' || name === '-h' || name === 'help') {
    print(HELP);
    return EXIT_DONE;
  }
  if (/^(-V|--version|version)$/.test(name)) {
    print(`${versionText()}\n`);
    return EXIT_DONE;
  }
  const verb = Object.hasOwn(VERBS, name) ? VERBS[name] : undefined;
  if (verb === undefined) {
    printMessage(`tsvm image: unknown verb "${name}" (tsvm image --help lists the verbs)\n`);
    return EXIT_FAILED;
  }
  const failed = name === 'compare' ? EXIT_COMPARE_NOT_OPENED : EXIT_FAILED;
  let code = EXIT_DONE;
  let canAllow = false;
  try {
    const { arrange, createCommand } = await verb.load();
    const command = createCommand((settled) => {
      code = settled;
    });
    command
      .name(`tsvm image ${name}`)
      .description(verb.summary)
      .allowExcessArguments(false)
      .showHelpAfterError(`(see tsvm image ${name} --help)`);
    adoptCommand(command);
    canAllow = command.options.some(({ long }) => long === '--backing');
    await command.parseAsync(arrange?.(rest) ?? rest, { from: 'user' });
    return code;
  } catch (error) {
    // Commander has printed its message; help ends here too, with code 0.
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return EXIT_DONE;
      // The invalid value may be a format, without which no image can be opened.
      return error.code === 'commander.invalidArgument' ? failed : EXIT_FAILED;
    }
    if (!isHostError(error)) throw error;
    const advice =
      canAllow && 'code' in error && error.code === 'file-not-allowed' ? ' (--backing allow)' : '';
    printMessage(`tsvm image ${name}: ${error.message}${advice}\n`);
    return failed;
  }
}

/** Our own errors and those of system calls; anything else is a bug. */
function isHostError(error: unknown): error is Error {
  return error instanceof TsvmError || (error instanceof Error && 'syscall' in error);
}
