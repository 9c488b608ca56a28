import { join } from 'node:path';
import { ImageStore } from '../../container/store/image-store.ts';
import { hostFiles } from '../../kvm/disk.ts';
import { dataFolder } from '../../util/data-folder.ts';

/** The user's images. Nothing is opened or made yet. */
export function openStore(): ImageStore {
  // The addon, which has the locks, is loaded when one is wanted: a list of images wants none.
  const locks = {
    lockFile: (...args: Parameters<ReturnType<typeof hostFiles>['lockFile']>) =>
      hostFiles().lockFile(...args),
    isFileLocked: (...args: Parameters<ReturnType<typeof hostFiles>['isFileLocked']>) =>
      hostFiles().isFileLocked(...args),
  };
  return new ImageStore(join(dataFolder(), 'images'), locks);
}
