import { Command, Option } from 'commander';
import { openHostFile } from '../../backends/disk/file/host-file.ts';
import { type ImageFormat, imageFormat } from '../../backends/disk/image/format.ts';
import { checkImage } from '../../backends/disk/image/qcow2/check/check.ts';
import type { CheckResult } from '../../backends/disk/image/qcow2/check/check-report.ts';
import { type RepairMode, repairImage } from '../../backends/disk/image/qcow2/check/repair.ts';
import { hostFiles } from '../../host/host-files.ts';
import { formatFixed } from '../../util/c-numbers.ts';
import { print, printMessage } from '../standard-streams.ts';
import {
  EXIT_CHECK_CORRUPT,
  EXIT_CHECK_LEAKS,
  EXIT_CHECK_UNSUPPORTED,
  EXIT_DONE,
  EXIT_FAILED,
} from './exit-codes.ts';
import { imageOptsOption, namedImage } from './named-image.ts';
import {
  cacheOption,
  formatOption,
  outputOption,
  quietOption,
  readsUnlocked,
  unlockedOption,
} from './option-values.ts';
import { printJson } from './print.ts';
import type { SetExitCode } from './verb.ts';

interface CheckOptions {
  readonly f?: ImageFormat;
  readonly output: 'human' | 'json';
  readonly repair?: RepairMode | true;
  readonly q?: true;
  readonly forceShare?: true;
  readonly imageOpts?: true;
}

const HELP = `
Exit codes, after a repair if there was one:
  0  nothing is wrong               2  the image is corrupt
  1  the check failed               3  only space is lost
                                    63 the format has nothing to check

Examples:
  tsvm image check disk.qcow2
  tsvm image check --repair disk.qcow2
  tsvm image check -r leaks --output json disk.qcow2`;

export function checkCommand(setExitCode: SetExitCode): Command {
  return new Command()
    .argument('<file>', 'the image; the kind of repair may precede it')
    .addOption(formatOption('-f', 'its format'))
    .addOption(imageOptsOption())
    .addOption(outputOption())
    .addOption(
      new Option('-r, --repair [what]', 'repair leaks, or all errors (default)').choices([
        'leaks',
        'all',
      ]),
    )
    .addOption(quietOption())
    .addOption(cacheOption('-T', 'for compatibility with qemu-img; has no effect'))
    .addOption(unlockedOption())
    .addHelpText('after', HELP)
    .action((path: string, options: CheckOptions) => {
      setExitCode(check(path, options));
    });
}

/** `--repair FILE`: the word after `--repair` is its value only if it is a valid one. */
export function withRepairMode(args: readonly string[]): string[] {
  return args.flatMap((arg, index) => {
    const says = /^(leaks|all)$/.test(args[index + 1] ?? '');
    return /^(-r|--repair)$/.test(arg) && !says ? [arg, 'all'] : [arg];
  });
}

function check(name: string, options: CheckOptions): number {
  const { output, q: quiet = false, repair } = options;
  const readOnly = repair === undefined;
  const unlocked = readsUnlocked(options.forceShare, readOnly);
  const named = namedImage(name, options);
  const { path } = named;
  const format = imageFormat(path, named.format, (word) => `-f ${word}`);
  const file = openHostFile(path, hostFiles(), readOnly ? { readOnly, unlocked } : { readOnly });
  if (format !== 'qcow2') {
    file.close();
    printMessage('tsvm image check: This image format does not support checks\n');
    return EXIT_CHECK_UNSUPPORTED;
  }
  let result: CheckResult;
  try {
    result =
      repair === undefined ? checkImage(file) : repairImage(file, repair === true ? 'all' : repair);
  } finally {
    file.close();
  }
  if (output === 'json') {
    printJson(resultJson(path, result));
  } else if (!quiet) {
    if (result.problems.length > 0) printMessage(`${result.problems.join('\n')}\n`);
    print(`${resultLines(result).join('\n')}\n`);
  }
  return exitCode(result);
}

function exitCode(result: CheckResult): number {
  if (result.corruptions > 0) return EXIT_CHECK_CORRUPT;
  if (result.leaks > 0) return EXIT_CHECK_LEAKS;
  return result.checkErrors > 0 ? EXIT_FAILED : EXIT_DONE;
}

/** Counts that are zero are left out. */
function resultJson(filename: string, result: CheckResult): object {
  const found = (key: string, count: number) => (count > 0 ? { [key]: count } : {});
  return {
    'image-end-offset': result.imageEndOffset,
    'total-clusters': result.totalClusters,
    ...found('compressed-clusters', result.compressedClusters),
    ...found('corruptions', result.corruptions),
    'check-errors': result.checkErrors,
    ...found('allocated-clusters', result.allocatedClusters),
    ...found('fragmented-clusters', result.fragmentedClusters),
    ...found('leaks', result.leaks),
    ...found('leaks-fixed', result.leaksFixed),
    ...found('corruptions-fixed', result.corruptionsFixed),
    filename,
    format: 'qcow2',
  };
}

function resultLines(result: CheckResult): string[] {
  const { corruptions, corruptionsFixed, leaks, leaksFixed, checkErrors } = result;
  const lines: string[] = [];
  if (corruptionsFixed > 0 || leaksFixed > 0) {
    lines.push(
      'The following inconsistencies were found and repaired:',
      '',
      `    ${leaksFixed} leaked clusters`,
      `    ${corruptionsFixed} corruptions`,
      '',
      'Double checking the fixed image now...',
    );
  }
  if (corruptions === 0 && leaks === 0 && checkErrors === 0) {
    lines.push('No errors were found on the image.');
  }
  if (corruptions > 0) {
    lines.push(
      '',
      `${corruptions} errors were found on the image.`,
      'Data may be corrupted, or further writes to the image may corrupt it.',
    );
  }
  if (leaks > 0) {
    lines.push(
      '',
      `${leaks} leaked clusters were found on the image.`,
      'This means waste of disk space, but no harm to data.',
    );
  }
  if (checkErrors > 0) {
    lines.push('', `${checkErrors} internal errors have occurred during the check.`);
  }
  const { allocatedClusters, totalClusters, fragmentedClusters, compressedClusters } = result;
  if (totalClusters > 0 && allocatedClusters > 0) {
    const share = (part: number, whole: number) => `${formatFixed((part * 100) / whole, 2)}%`;
    lines.push(
      `${allocatedClusters}/${totalClusters} = ${share(allocatedClusters, totalClusters)} allocated, ` +
        `${share(fragmentedClusters, allocatedClusters)} fragmented, ` +
        `${share(compressedClusters, allocatedClusters)} compressed clusters`,
    );
  }
  lines.push(`Image end offset: ${result.imageEndOffset}`);
  return lines;
}
