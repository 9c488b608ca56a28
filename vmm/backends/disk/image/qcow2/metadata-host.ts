import type { ImageFile } from '../../file/image-file.ts';
import type { Geometry } from './header/geometry.ts';
import type { L1Table } from './map/l1-table.ts';
import type { MetadataClusters } from './space/metadata-clusters.ts';
import type { Refcounts } from './space/refcounts.ts';

/** What the parts of an image's metadata need of the whole; `ImageMetadata` implements it. */
export interface MetadataHost {
  readonly file: ImageFile;
  readonly geometry: Geometry;
  readonly refcounts: Refcounts;
  readonly l1: L1Table;
  /** Host clusters that metadata in use occupies. */
  metadataClusters(): MetadataClusters;
  /** Marks the image as corrupt and throws. */
  corrupt(what: string): never;
  /** Makes the header refer to another refcount table, durably. */
  setRefcountTable(offset: number, clusters: number): void;
  /** Writes all refcounts that the file does not have yet. */
  writeRefcountBlocks(): void;
  /** Makes a change that must not stay half done: when it throws, the image takes no more writes. */
  changeStructure(change: () => void): void;
}
