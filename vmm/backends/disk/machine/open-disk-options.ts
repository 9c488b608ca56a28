import type { HostFiles } from '../../../host/host-files.ts';
import type { DiskFormat } from '../image/format.ts';

export interface OpenDiskOptions {
  readonly format: DiskFormat;
  readonly readOnly: boolean;
  /** Writes go to an unnamed temporary file; the image stays as it is. */
  readonly overlay: boolean;
  /** Which backing images may be opened; see `openImage`. */
  readonly backing: 'same-folder' | 'allow';
  readonly hostFiles: HostFiles;
  /** Receives what the user should know about a disk that keeps working. */
  readonly warn: (message: string) => void;
}

/** What only reading from a disk needs. */
export type ReadDiskOptions = Pick<OpenDiskOptions, 'format' | 'backing' | 'hostFiles'>;
