/** The feature name table of qcow2: QEMU's docs/interop/qcow2.txt, section "Feature name table". */
import { printable } from '../../../../../util/printable.ts';
import type { HeaderExtension } from './header-extensions.ts';
import { Autoclear, Compatible, ExtensionType, Incompatible } from './layout.ts';

const ENTRY_BYTES = 48;
const NAME_OFFSET = 2;
const TYPE_INCOMPATIBLE = 0;
const TYPE_COMPATIBLE = 1;
const TYPE_AUTOCLEAR = 2;

/** Features that a new image may use: type, bit, and name for people. */
const NAMES: readonly (readonly [type: number, bit: bigint, name: string])[] = [
  [TYPE_INCOMPATIBLE, Incompatible.DIRTY, 'dirty bit'],
  [TYPE_INCOMPATIBLE, Incompatible.CORRUPT, 'corrupt bit'],
  [TYPE_INCOMPATIBLE, Incompatible.EXTERNAL_DATA_FILE, 'external data file'],
  [TYPE_INCOMPATIBLE, Incompatible.COMPRESSION_TYPE, 'compression type'],
  [TYPE_INCOMPATIBLE, Incompatible.EXTENDED_L2, 'extended L2 entries'],
  [TYPE_COMPATIBLE, Compatible.LAZY_REFCOUNTS, 'lazy refcounts'],
  [TYPE_AUTOCLEAR, Autoclear.BITMAPS, 'bitmaps'],
  [TYPE_AUTOCLEAR, Autoclear.RAW_EXTERNAL_DATA, 'raw external data'],
];

/** Lets programs that do not know a feature name it. */
export function featureNameTable(): HeaderExtension {
  const data = new Uint8Array(NAMES.length * ENTRY_BYTES);
  for (const [index, [type, mask, name]] of NAMES.entries()) {
    const bit = mask.toString(2).length - 1;
    data.set([type, bit, ...new TextEncoder().encode(name)], index * ENTRY_BYTES);
  }
  return { type: ExtensionType.FEATURE_NAMES, data };
}

/** The image's own name for an unknown incompatible feature. */
export function incompatibleFeatureName(
  bit: number,
  extensions: readonly HeaderExtension[],
): string | undefined {
  const table = extensions.find(({ type }) => type === ExtensionType.FEATURE_NAMES)?.data;
  if (table === undefined) return undefined;
  for (let at = 0; at + ENTRY_BYTES <= table.length; at += ENTRY_BYTES) {
    if (table[at] !== TYPE_INCOMPATIBLE || table[at + 1] !== bit) continue;
    const bytes = table.subarray(at + NAME_OFFSET, at + ENTRY_BYTES);
    const [name = ''] = new TextDecoder().decode(bytes).split('\0');
    if (name !== '') return printable(name);
  }
  return undefined;
}
