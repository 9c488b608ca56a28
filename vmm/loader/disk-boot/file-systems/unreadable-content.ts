/** Content of volumes that is recognised only to name it. The places are those of blkid(8). */
import type { Volume } from '../disk-source.ts';

interface Content {
  readonly name: string;
  /** Linux can mount it as it is. */
  readonly isFileSystem: boolean;
}

const CONTAINERS: readonly (readonly [name: string, offset: number, text: string])[] = [
  ['LUKS (encrypted)', 0, 'LUKS\xba\xbe'],
  ['BitLocker (encrypted)', 3, '-FVE-FS-'],
  ['LVM', 24, 'LVM2 001'],
  ['LVM', 512 + 24, 'LVM2 001'],
  ['LVM', 1024 + 24, 'LVM2 001'],
  ['LVM', 1536 + 24, 'LVM2 001'],
  ['software RAID (md)', 4096, '\xfc\x4e\x2b\xa9'],
  ['software RAID (md)', 0, '\xfc\x4e\x2b\xa9'],
  ['swap space', 4086, 'SWAPSPACE2'],
];
const FILE_SYSTEMS: typeof CONTAINERS = [
  ['NTFS', 3, 'NTFS    '],
  ['exFAT', 3, 'EXFAT   '],
  ['F2FS', 1024, '\x10\x20\xf5\xf2'],
  ['EROFS', 1024, '\xe2\xe1\xf5\xe0'],
  ['SquashFS', 0, 'hsqs'],
  ['bcachefs', 4096 + 24, '\xc6\x85\x73\xf6\x4e\x1a\x45\xca'],
  ['an ISO 9660 file system', 32769, 'CD001'],
];

/** What the content is; undefined when it is none of these. */
export function unreadableContent(volume: Volume): Content | undefined {
  const find = (signatures: typeof CONTAINERS) =>
    signatures.find(
      ([, offset, text]) =>
        offset + text.length <= volume.sizeBytes &&
        volume.read(offset, text.length, 'signature').has(0, text),
    )?.[0];
  // What encloses a file system comes first: what it contained before may still be there.
  const container = find(CONTAINERS);
  const name = container ?? find(FILE_SYSTEMS);
  return name === undefined ? undefined : { name, isFileSystem: container === undefined };
}
