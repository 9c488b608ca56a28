import { TsvmError } from '../../../../../errors.ts';
import type { Header } from './header-fields.ts';
import { UNKNOWN_FIELDS_OFFSET, V3_HEADER_BYTES } from './layout.ts';

/**
 * Converts a version 2 header to version 3. A version 3 header is returned unchanged.
 * @throws TsvmError `invalid-config` when there are snapshots, whose table entries differ in
 * version 3
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
