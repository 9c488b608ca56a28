import { diskFormat } from '../backends/disk/image/format.ts';
import { BOOLEAN, checkFields, invalid, TEXT } from './config-fields.ts';

/** A file of the host that is guest memory (virtio-pmem, `/dev/pmem0` in the guest). */
export interface PmemConfig {
  /** A file or block device, whose content is not interpreted. */
  readonly path: string;
  /** The guest's writes have no effect. Default: they are in the file, whose size is a multiple of 2 MiB. */
  readonly readOnly?: boolean | undefined;
}

export type ResolvedPmem = PmemConfig & { readonly readOnly: boolean };

export const PMEMS_MAX = 8;

const PMEM_FIELDS = { path: TEXT, readOnly: BOOLEAN };

/** @throws TsvmError `invalid-config` */
export function resolvePmems(pmems: readonly PmemConfig[]): readonly ResolvedPmem[] {
  if (pmems.length > PMEMS_MAX)
    invalid(`${pmems.length} files as memory: give ${PMEMS_MAX} at most`);
  const paths = new Set<string>();
  return pmems.map((pmem) => {
    checkFields('the pmem device', pmem, PMEM_FIELDS);
    const { path, readOnly = false } = pmem;
    if (path === undefined || path === '') invalid('a pmem device has no "path"');
    if (diskFormat(path, undefined) !== 'raw') {
      invalid(`${path} is a qcow2 image by its name, and memory is raw: convert it, or use a disk`);
    }
    if (paths.has(path)) invalid(`the file ${path} is given as memory twice`);
    paths.add(path);
    return { path, readOnly };
  });
}
