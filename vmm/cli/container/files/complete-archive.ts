import { Transform } from 'node:stream';
import { TsvmError } from '../../../errors.ts';

/** A tar archive ends with two blocks of zeroes: POSIX.1-2001, pax, "ustar Interchange Format". */
const END_BYTES = 1024;

/**
 * Passes a tar archive on, and fails if it breaks off: a connection that ends early looks like one
 * that ends.
 */
export function completeArchive(): Transform {
  let last: Uint8Array = new Uint8Array(0);
  return new Transform({
    transform(chunk: Buffer, _encoding, callback) {
      last =
        chunk.length >= END_BYTES
          ? chunk.subarray(-END_BYTES)
          : Buffer.concat([last, chunk]).subarray(-END_BYTES);
      callback(null, chunk);
    },
    flush(callback) {
      const isWhole = last.length === END_BYTES && last.every((byte) => byte === 0);
      const broken = () =>
        new TsvmError(
          'container-failed',
          'the archive breaks off: the container has ended meanwhile',
        );
      callback(isWhole ? null : broken());
    },
  });
}
