import { TsvmError } from '../../../../../errors.ts';
import type { Qcow2Image } from '../qcow2-image.ts';
import { BitmapChanges, bitsOf, listBitmaps } from './bitmap-changes.ts';

/**
 * Copies the bitmaps of an image to another with the same content.
 * @param skipBroken leaves out bitmaps that were not saved, instead of failing
 * @throws TsvmError `invalid-config`, `invalid-disk`, `disk-io`
 */
export function copyBitmaps(source: Qcow2Image, target: Qcow2Image, skipBroken: boolean): void {
  const bitmaps = listBitmaps(source);
  const broken = bitmaps.find(({ inUse }) => inUse);
  if (broken !== undefined && !skipBroken) {
    throw new TsvmError(
      'invalid-config',
      `the bitmap ${JSON.stringify(broken.name)} of ${source.file.path} was not saved: use ` +
        '--skip-broken-bitmaps, or remove it with "tsvm image bitmap --remove"',
    );
  }
  const sound = bitmaps.filter(({ inUse }) => !inUse);
  if (sound.length === 0) return;
  const changes = new BitmapChanges(target);
  for (const { auto, granularityBytes, name } of sound) {
    changes.add(name, granularityBytes, auto);
    changes.merge(name, bitsOf(source, name));
  }
  changes.store();
}
