import { TsvmError } from '../../../../errors.ts';
import type { ImageFile } from '../../file/image-file.ts';
import type { Preallocation } from '../qcow2/create/create-options.ts';

/** Size of one write. */
const STEP_BYTES = 2 ** 20;

/**
 * Allocates space for a part of a raw image, which must read as zeroes and still does afterwards.
 * @param file at least `end` bytes long
 * @throws TsvmError `invalid-config` for a mode that raw images do not have, `disk-io`; the
 * signal's reason when aborted
 */
export async function preallocateRaw(
  file: ImageFile,
  preallocation: Preallocation,
  offset: number,
  end: number,
  signal: AbortSignal,
): Promise<void> {
  switch (preallocation) {
    case 'off':
      return;
    case 'metadata':
      throw new TsvmError(
        'invalid-config',
        'a raw image has no metadata: the preallocations are off, falloc and full',
      );
    case 'falloc':
      file.allocateSync(offset, end - offset);
      return;
    case 'full': {
      const zeroes = new Uint8Array(STEP_BYTES);
      for (let at = offset; at < end; at += STEP_BYTES) {
        signal.throwIfAborted();
        await file.write(at, zeroes.subarray(0, Math.min(STEP_BYTES, end - at)));
      }
    }
  }
}
