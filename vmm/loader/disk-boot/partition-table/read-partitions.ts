import type { DiskReader } from '../disk-source.ts';
import { readGpt } from './gpt.ts';
import { readMbr } from './mbr.ts';
import type { PartitionTable } from './partition.ts';

/**
 * The partitions of a disk; undefined when it has no partition table.
 * @throws TsvmError `invalid-disk` for a damaged table without a backup
 */
export function readPartitions(disk: DiskReader): PartitionTable | undefined {
  // A disk with a GPT has a protective MBR too.
  return readGpt(disk) ?? readMbr(disk);
}
