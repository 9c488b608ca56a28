import { TsvmError } from '../../../../errors.ts';
import type { ImageFile } from '../../file/image-file.ts';
import { chainFiles } from '../chain-files.ts';
import type { DiskImage } from '../image.ts';

/**
 * Reads from images whose files must keep their length: past the end of a file everything reads as
 * zeroes, so that a file truncated meanwhile would make a copy that looks complete.
 *
 * @throws TsvmError `disk-io` when a file was truncated
 */
export async function withWholeSources(
  sources: readonly DiskImage[],
  read: () => Promise<void>,
): Promise<void> {
  const before = new Map<ImageFile, number>();
  for (const { file } of sources.flatMap((source) => [...chainFiles(source)])) {
    before.set(file, file.sizeBytes());
  }
  await read();
  for (const [file, sizeBytes] of before) {
    const now = file.sizeBytes();
    if (now >= sizeBytes) continue;
    throw new TsvmError(
      'disk-io',
      `${file.path} became shorter while it was read, from ${sizeBytes} bytes to ${now}: ` +
        'let no other program write it meanwhile',
    );
  }
}
