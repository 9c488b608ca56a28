import { mkdtempSync, openSync, rmdirSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TsvmError } from '../../../errors.ts';

/**
 * Opens a new, empty file without a name: it goes with the process, however that ends.
 * @throws TsvmError `disk-io` when the folder for temporary files takes none
 */
export function openNamelessFile(): number {
  try {
    const folder = mkdtempSync(join(tmpdir(), 'tsvm-'));
    try {
      const path = join(folder, 'scratch');
      const fd = openSync(path, 'wx+', 0o600);
      unlinkSync(path);
      return fd;
    } finally {
      rmdirSync(folder);
    }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new TsvmError(
      'disk-io',
      `no temporary file can be made: ${reason}; let TMPDIR name a folder with free space`,
      { cause },
    );
  }
}
