import { openHostFile } from '../../backends/disk/host-file.ts';
import { type Header, parseHeader } from '../../backends/disk/qcow2/header.ts';
import { rewriteHeader } from '../../backends/disk/qcow2/header-encode.ts';
import { hostFiles } from '../../kvm/disk.ts';

/**
 * Changes what the header of a qcow2 image says, durably, and nothing else.
 * @throws TsvmError `disk-locked`, `invalid-disk`, `disk-io`; `invalid-config` for names too long
 */
export function changeHeader(path: string, change: (header: Header) => Header): void {
  const file = openHostFile(path, hostFiles(), { readOnly: false });
  try {
    rewriteHeader(file, change(parseHeader(file)));
  } finally {
    file.close();
  }
}
