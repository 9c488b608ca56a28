import type { ImageFile } from '../../../file/image-file.ts';
import { type Geometry, geometryOf } from '../header/geometry.ts';
import { parseHeader } from '../header/header.ts';
import type { Header } from '../header/header-fields.ts';
import { readSnapshotTable, type SnapshotTable } from '../snapshot/snapshot-table.ts';
import { CheckReport } from './check-report.ts';
import { StoredRefcounts } from './stored-refcounts.ts';

/** An image as a check reads it from the file, with the findings so far. */
export interface CheckedImage {
  readonly file: ImageFile;
  readonly header: Header;
  readonly geometry: Geometry;
  readonly snapshotTable: SnapshotTable;
  readonly stored: StoredRefcounts;
  readonly report: CheckReport;
}

/** @throws TsvmError `invalid-disk` when the header or the snapshot table is invalid */
export function readCheckedImage(file: ImageFile): CheckedImage {
  const header = parseHeader(file);
  const geometry = geometryOf(header);
  return {
    file,
    header,
    geometry,
    snapshotTable: readSnapshotTable(file, header, header.version),
    stored: new StoredRefcounts(file, geometry, header),
    report: new CheckReport(),
  };
}
