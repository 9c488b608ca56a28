import { TsvmError } from '../../errors.ts';

/** Adds advice to errors of the file system; other errors are passed on unchanged. */
export function storeFailure(folder: string, error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error)) return error;
  switch (error.code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new TsvmError(
        'store-failed',
        `no space left on device in ${folder}: "tsvm image prune -a" removes unused images, ` +
          '"tsvm system df" shows the usage of images',
        { cause: error },
      );
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new TsvmError(
        'store-failed',
        `the image store ${folder} cannot be used: ${error.message}; set TSVM_DATA_FOLDER to use another`,
        { cause: error },
      );
    case 'EIO':
    case 'ENOTDIR':
    case 'EMFILE':
    case 'ENFILE':
      return new TsvmError('store-failed', `the image store ${folder}: ${error.message}`, {
        cause: error,
      });
    default:
      return error;
  }
}
