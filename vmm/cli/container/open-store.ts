import { join } from 'node:path';
import { imageUses } from '../../container/containers/image-uses.ts';
import { ImageStore } from '../../container/store/image-store.ts';
import { TsvmError } from '../../errors.ts';
import { dataFolder } from '../../host/folders.ts';
import { hostFiles } from '../../host/host-files.ts';
import { openContainers } from './containers.ts';

/**
 * The user's images. Nothing is opened or made yet.
 * @throws TsvmError `store-failed` for a user without a home folder
 */
export function openStore(): ImageStore {
  // The addon, which implements locks, is loaded on first use: listing images needs no lock.
  const locks = {
    lockFile: (...args: Parameters<ReturnType<typeof hostFiles>['lockFile']>) =>
      hostFiles().lockFile(...args),
    isFileLocked: (...args: Parameters<ReturnType<typeof hostFiles>['isFileLocked']>) =>
      hostFiles().isFileLocked(...args),
  };
  const data = dataFolder();
  if (data === undefined) {
    throw new TsvmError(
      'store-failed',
      'no folder for images: set HOME, XDG_DATA_HOME or TSVM_DATA_FOLDER',
    );
  }
  return new ImageStore(join(data, 'images'), locks, () => imageUses(openContainers()));
}
