import type { Volume } from '../disk-source.ts';

/** What a partition's type says about its use. */
export type PartitionUse = 'esp' | 'xbootldr' | 'other';

export interface Partition {
  /** As Linux numbers it: 1 for /dev/vda1. */
  readonly number: number;
  readonly use: PartitionUse;
  /** As in `root=PARTUUID=`. */
  readonly partUuid: string;
  readonly volume: Volume;
}

export interface PartitionTable {
  /** GRUB's name of the kind: `gpt1`, `msdos1`. */
  readonly kind: 'gpt' | 'msdos';
  readonly partitions: readonly Partition[];
  /** What is wrong with the others. */
  readonly problems: readonly string[];
}
