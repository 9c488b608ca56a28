import { Command } from 'commander';
import type { ImageFormat } from '../../backends/disk/image/format.ts';
import type { Bitmap } from '../../backends/disk/image/qcow2/bitmap/bitmap-tables.ts';
import type { Header } from '../../backends/disk/image/qcow2/header/header-fields.ts';
import type { SnapshotInfo } from '../../backends/disk/image/qcow2/snapshot/snapshot-table.ts';
import { printable } from '../../util/printable.ts';
import { print } from '../standard-streams.ts';
import { EXIT_DONE } from './exit-codes.ts';
import { type ImageInfo, readChainInfo, readImageInfo, type VmdkInfo } from './image-info.ts';
import { formatImageSize } from './image-size.ts';
import { imageOptsOption, namedImage } from './named-image.ts';
import {
  type BackingPolicy,
  backingPolicyOption,
  formatOption,
  outputOption,
  unlockedOption,
} from './option-values.ts';
import { printJson } from './print.ts';
import { snapshotLines } from './snapshot-lines.ts';
import type { SetExitCode } from './verb.ts';

interface InfoOptions {
  readonly f?: ImageFormat;
  readonly output: 'human' | 'json';
  readonly backingChain?: true;
  readonly forceShare?: true;
  readonly imageOpts?: true;
  readonly backing: BackingPolicy;
}

const HELP = `
Without -f, a file that begins like a qcow2 image is treated as one, whatever its name. Other verbs go by
the name.

Examples:
  tsvm image info disk.qcow2
  tsvm image info --output json --backing-chain overlay.qcow2`;

export function infoCommand(setExitCode: SetExitCode): Command {
  return new Command()
    .argument('<file>', 'the image')
    .addOption(formatOption('-f', 'its format'))
    .addOption(imageOptsOption())
    .addOption(outputOption())
    .option('--backing-chain', 'include its backing images')
    .addOption(unlockedOption())
    .addOption(backingPolicyOption())
    .addHelpText('after', HELP)
    .action((path: string, options: InfoOptions) => {
      setExitCode(info(path, options));
    });
}

function info(name: string, { output, ...options }: InfoOptions): number {
  const { path, format } = namedImage(name, options);
  const unlocked = options.forceShare === true;
  const chain = options.backingChain === true;
  const infos = chain
    ? readChainInfo(path, { format, unlocked }, options.backing)
    : [readImageInfo(path, { format, unlocked })];
  if (output === 'json') {
    const all = infos.map(infoJson);
    printJson(chain ? all : all[0]);
  } else {
    print(infos.map((one) => `${infoLines(one).join('\n')}\n`).join('\n'));
  }
  return EXIT_DONE;
}

function infoJson({ header, snapshots, bitmaps, vmdk, ...info }: ImageInfo): object {
  return {
    ...(header?.backingFormat !== undefined && {
      'backing-filename-format': header.backingFormat,
    }),
    ...(snapshots.length > 0 && { snapshots: snapshots.map(snapshotJson) }),
    'virtual-size': info.virtualBytes,
    filename: info.filename,
    ...(info.clusterBytes !== undefined && { 'cluster-size': info.clusterBytes }),
    format: info.format,
    'actual-size': info.actualBytes,
    ...(header !== undefined && {
      'format-specific': { type: 'qcow2', data: Object.fromEntries(qcow2Facts(header, bitmaps)) },
    }),
    ...(vmdk !== undefined && {
      'format-specific': { type: 'vmdk', data: Object.fromEntries(vmdkFacts(info, vmdk)) },
    }),
    ...(info.backingPath !== undefined && { 'full-backing-filename': info.backingPath }),
    ...(header?.backingName !== undefined && { 'backing-filename': header.backingName }),
    'dirty-flag': header?.dirty ?? false,
  };
}

function snapshotJson(snapshot: SnapshotInfo): object {
  const clock = snapshot.vmClockNanoseconds;
  return {
    ...(snapshot.icount !== undefined && { icount: Number(snapshot.icount) }),
    'vm-clock-nsec': Number(clock % 1_000_000_000n),
    name: snapshot.name,
    'date-sec': snapshot.dateSeconds,
    'date-nsec': snapshot.dateNanoseconds,
    'vm-clock-sec': Number(clock / 1_000_000_000n),
    id: snapshot.id,
    'vm-state-size': snapshot.vmStateBytes,
  };
}

/** A value in the JSON output. */
type Fact = string | number | boolean | readonly Fact[] | { readonly [name: string]: Fact };

function bitmapFacts({ inUse, auto, name, granularityBytes }: Bitmap): Fact {
  const flags = [inUse && 'in-use', auto && 'auto'].filter((flag) => flag !== false);
  return { flags, name, granularity: granularityBytes };
}

/** Format-specific information of a qcow2 image, under its JSON names. */
function qcow2Facts(header: Header, bitmaps: readonly Bitmap[]): [string, Fact][] {
  const old = header.version === 2;
  const facts: ([string, Fact] | false)[] = [
    ['compat', old ? '0.10' : '1.1'],
    ['compression-type', header.compressionType],
    !old && ['lazy-refcounts', header.lazyRefcounts],
    bitmaps.length > 0 && ['bitmaps', bitmaps.map(bitmapFacts)],
    ['refcount-bits', header.refcountBits],
    header.dataFileName !== undefined && ['data-file', header.dataFileName],
    header.externalDataFile && ['data-file-raw', header.rawExternalData],
    !old && ['corrupt', header.corrupt],
    !old && ['extended-l2', header.extendedL2],
  ];
  return facts.filter((fact) => fact !== false);
}

type SizedInfo = Pick<ImageInfo, 'clusterBytes' | 'filename' | 'virtualBytes'>;

/** Format-specific information of a vmdk image, which is one file here. */
function vmdkFacts(info: SizedInfo, vmdk: VmdkInfo): [string, Fact][] {
  const extent = {
    ...(vmdk.isCompressed && { compressed: true }),
    'virtual-size': info.virtualBytes,
    filename: info.filename,
    'cluster-size': info.clusterBytes ?? 0,
    format: '',
  };
  return [
    ['cid', vmdk.cid],
    ['parent-cid', vmdk.parentCid],
    ['create-type', vmdk.createType],
    ['extents', [extent]],
  ];
}

function infoLines(info: ImageInfo): string[] {
  const { header, snapshots, bitmaps, virtualBytes } = info;
  const lines = [
    `image: ${info.filename}`,
    `file format: ${info.format}`,
    `virtual size: ${formatImageSize(virtualBytes)} (${virtualBytes} bytes)`,
    `disk size: ${formatImageSize(info.actualBytes)}`,
  ];
  if (info.clusterBytes !== undefined) lines.push(`cluster_size: ${info.clusterBytes}`);
  if (info.vmdk !== undefined) {
    lines.push('Format specific information:', ...indented(vmdkFacts(info, info.vmdk)));
  }
  if (header === undefined) return lines;
  if (header.dirty) lines.push('cleanly shut down: no');
  if (header.backingName !== undefined) {
    const shown = printable(header.backingName);
    const path = info.backingPath;
    const actual =
      path === undefined || path === header.backingName ? '' : ` (actual path: ${path})`;
    lines.push(`backing file: ${shown}${actual}`);
  }
  if (header.backingFormat !== undefined) {
    lines.push(`backing file format: ${printable(header.backingFormat)}`);
  }
  if (snapshots.length > 0) lines.push(...snapshotLines(snapshots));
  lines.push('Format specific information:');
  lines.push(...indented(qcow2Facts(header, bitmaps)));
  return lines;
}

/** qemu-img's format for nested values. */
function indented(facts: readonly (readonly [string, Fact])[]): string[] {
  return facts.flatMap(([name, fact]) => {
    const shown = `    ${name.replaceAll('-', ' ')}:`;
    if (typeof fact !== 'object') return [`${shown} ${printable(String(fact))}`];
    const parts = Object.entries(fact).map(([part, value]): [string, Fact] => [
      Array.isArray(fact) ? `[${part}]` : part,
      value,
    ]);
    return [shown, ...indented(parts).map((line) => `    ${line}`)];
  });
}
