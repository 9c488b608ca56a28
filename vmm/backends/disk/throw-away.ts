import { mkdtempSync, openSync, rmdirSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TsvmError } from '../../errors.ts';
import { HostFile, type HostFiles } from './host-file.ts';
import type { DiskImage } from './image.ts';
import { createQcow2 } from './qcow2/create.ts';
import { Qcow2Image } from './qcow2/qcow2-image.ts';

/**
 * An image whose content is that of `backing` until it is written to, and which goes with the
 * process, however that ends. `backing` is never written.
 * @param backing open, the caller's to close
 * @throws TsvmError `disk-io` when there is no room for temporary files
 */
export function openThrowAwayImage(backing: DiskImage, hostFiles: HostFiles): Qcow2Image {
  const file = new ScratchFile(hostFiles);
  try {
    createQcow2(file, { sizeBytes: backing.sizeBytes });
    return Qcow2Image.open(file, { readOnly: false, backing });
  } catch (error) {
    file.close();
    throw error;
  }
}

/** A file without a name. Nobody finds it after a crash: it is never synced. */
class ScratchFile extends HostFile {
  constructor(hostFiles: HostFiles) {
    const opened = { fd: openNameless(), isBlockDevice: false, sizeBytes: 0 };
    super('the temporary file for writes', opened, false, hostFiles);
  }

  override datasyncSync(): void {}

  override async datasync(): Promise<void> {}
}

function openNameless(): number {
  try {
    const folder = mkdtempSync(join(tmpdir(), 'tsvm-'));
    const path = join(folder, 'scratch');
    const fd = openSync(path, 'wx+', 0o600);
    unlinkSync(path);
    rmdirSync(folder);
    return fd;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new TsvmError(
      'disk-io',
      `no temporary file can be made: ${reason}; let TMPDIR name a folder with free space`,
      { cause },
    );
  }
}
