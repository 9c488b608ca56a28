import { mkdtempSync, openSync, rmdirSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TsvmError } from '../../../errors.ts';
import type { HostFiles } from '../../../host/host-files.ts';
import { HostFile } from './host-file.ts';

/**
 * An empty temporary file without a name: it disappears with the process, however that ends. Nobody
 * can find it after a crash, so it is never synced.
 */
export class ScratchFile extends HostFile {
  /** @throws TsvmError `disk-io` when the folder for temporary files takes none */
  constructor(hostFiles: HostFiles) {
    const opened = { fd: openUnnamed(), isBlockDevice: false, sizeBytes: 0 };
    super('the temporary file for writes', opened, false, hostFiles);
  }

  override datasyncSync(): void {}

  override async datasync(): Promise<void> {}
}

function openUnnamed(): number {
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
