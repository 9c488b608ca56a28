/** Header extensions of qcow2: QEMU's docs/interop/qcow2.txt, section "Header extensions". */
import { decodeBytes, encodeBytes } from '../../../../../util/byte-names.ts';
import { BITMAP_ENTRY_BYTES_MAX, BITMAPS_MAX, ExtensionType } from './layout.ts';

export interface HeaderExtension {
  /** See {@link ExtensionType}; may be unknown. */
  readonly type: number;
  readonly data: Uint8Array;
}

/** Section "Bitmaps extension": the place of the directory, in bytes. */
export interface BitmapsExtension {
  readonly count: number;
  readonly directoryOffset: number;
  readonly directoryBytes: number;
}

interface ParsedExtensions {
  readonly backingFormat: string | undefined;
  readonly dataFileName: string | undefined;
  readonly others: readonly HeaderExtension[];
}

/** Refuses the image; the problem follows its name in the message. */
export type Fail = (problem: string) => never;

/** Sizes of an extension's header and of the padding unit of its data. */
const EXTENSION_HEADER_BYTES = 8;
const BITMAPS_EXTENSION_BYTES = 24;

/** @param area from the end of the header to the backing name, or to the end of the cluster */
export function parseExtensions(area: Uint8Array, fail: Fail): ParsedExtensions {
  const view = viewOf(area);
  const names = new Map<number, string>();
  const others: HeaderExtension[] = [];
  for (let offset = 0; offset + EXTENSION_HEADER_BYTES <= area.length; ) {
    const type = view.getUint32(offset);
    if (type === ExtensionType.END) break;
    const length = view.getUint32(offset + 4);
    const start = offset + EXTENSION_HEADER_BYTES;
    if (length > area.length - start) {
      fail(`header extension 0x${type.toString(16)} extends past its area: ${length} bytes`);
    }
    const data = area.slice(start, start + length);
    if (type === ExtensionType.BACKING_FORMAT || type === ExtensionType.EXTERNAL_DATA_FILE_NAME) {
      if (names.has(type)) fail(`header extension 0x${type.toString(16)} occurs twice`);
      names.set(type, decodeName(data, 'header extension', fail));
    } else {
      others.push({ type, data });
    }
    offset = start + Math.ceil(length / 8) * 8;
  }
  return {
    backingFormat: names.get(ExtensionType.BACKING_FORMAT),
    dataFileName: names.get(ExtensionType.EXTERNAL_DATA_FILE_NAME),
    others,
  };
}

/** All extensions with the end mark. Names come first, so that they stay in the first sector. */
export function encodeExtensions(header: {
  readonly backingFormat: string | undefined;
  readonly dataFileName: string | undefined;
  readonly extensions: readonly HeaderExtension[];
}): Uint8Array {
  const all: HeaderExtension[] = [];
  const addName = (type: number, name: string | undefined) => {
    if (name !== undefined) all.push({ type, data: encodeBytes(name) });
  };
  addName(ExtensionType.BACKING_FORMAT, header.backingFormat);
  addName(ExtensionType.EXTERNAL_DATA_FILE_NAME, header.dataFileName);
  all.push(...header.extensions, { type: ExtensionType.END, data: new Uint8Array() });
  const sizes = all.map(({ data }) => EXTENSION_HEADER_BYTES + Math.ceil(data.length / 8) * 8);
  const bytes = new Uint8Array(sizes.reduce((sum, size) => sum + size, 0));
  const view = viewOf(bytes);
  let offset = 0;
  for (const [index, { type, data }] of all.entries()) {
    view.setUint32(offset, type);
    view.setUint32(offset + 4, data.length);
    bytes.set(data, offset + EXTENSION_HEADER_BYTES);
    offset += sizes[index] ?? 0;
  }
  return bytes;
}

/** Decodes a name in the image. A NUL is refused, since it would end the name for the host. */
export function decodeName(bytes: Uint8Array, what: string, fail: Fail): string {
  const name = decodeBytes(bytes);
  return name.includes('\0') ? fail(`the name of the ${what} contains a NUL`) : name;
}

export function parseBitmaps(data: Uint8Array, clusterBits: number, fail: Fail): BitmapsExtension {
  if (data.length !== BITMAPS_EXTENSION_BYTES) {
    return fail(`the bitmaps extension is ${data.length} bytes long, not 24`);
  }
  const view = viewOf(data);
  const count = view.getUint32(0);
  const directoryBytes = view.getUint32(8) * 2 ** 32 + view.getUint32(12);
  const directoryOffset = view.getUint32(16) * 2 ** 32 + view.getUint32(20);
  if (count === 0 || count > BITMAPS_MAX) fail(`nb_bitmaps is ${count}, not 1 to ${BITMAPS_MAX}`);
  if (directoryOffset === 0 || directoryOffset % 2 ** clusterBits !== 0) {
    fail(`bitmap_directory_offset is not the start of a cluster: ${directoryOffset}`);
  }
  if (directoryBytes === 0 || directoryBytes > BITMAPS_MAX * BITMAP_ENTRY_BYTES_MAX) {
    fail(`bitmap_directory_size is too large: ${directoryBytes}`);
  }
  return { count, directoryOffset, directoryBytes };
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
