import { openHostFile } from '../../backends/disk/file/host-file.ts';
import { parseHeader } from '../../backends/disk/image/qcow2/header/header.ts';
import { rewriteHeader } from '../../backends/disk/image/qcow2/header/header-encode.ts';
import type { Header } from '../../backends/disk/image/qcow2/header/header-fields.ts';
import { TsvmError } from '../../errors.ts';
import { hostFiles } from '../../host/host-files.ts';

/**
 * Changes only the header of a qcow2 image, durably.
 * @throws TsvmError `disk-locked`, `invalid-disk`, `disk-io`; `invalid-config` for names that are
 * too long, and for a header that could not be opened again
 */
export function changeHeader(path: string, change: (header: Header) => Header): void {
  const file = openHostFile(path, hostFiles(), { readOnly: false });
  try {
    const header = change(parseHeader(file));
    if (header.rawExternalData && header.backingName !== undefined) {
      throw new TsvmError(
        'invalid-config',
        `${path} has a raw data file, so it cannot have a backing file`,
      );
    }
    rewriteHeader(file, header);
  } finally {
    file.close();
  }
}
