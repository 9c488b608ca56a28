import { TsvmError } from '../../../../../errors.ts';
import type { Header } from './header-fields.ts';
import { UNKNOWN_FIELDS_OFFSET, V3_HEADER_BYTES } from './layout.ts';

/**
 * A version 2 header as version 3, for the same image. A version 3 header stays as it is.
 * @throws TsvmError `invalid-config` when there are snapshots, whose table has other entries then
 */
export function upgradedHeader(header: Header): Header {
  if (header.version === 3) return header;
  if (header.snapshotCount > 0) {
    throw new TsvmError(
      'invalid-config',
      'an image with snapshots keeps its version: delete them first, or use "tsvm image convert"',
    );
  }
  return {
    ...header,
    version: 3,
    headerBytes: V3_HEADER_BYTES,
    unknownFields: new Uint8Array(V3_HEADER_BYTES - UNKNOWN_FIELDS_OFFSET),
  };
}
