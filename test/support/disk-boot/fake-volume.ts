/** Volumes in memory, for tests of what is in files and not of how they are stored. */
import type { SearchedVolume } from '../../../vmm/loader/disk-boot/entries/searched-volume.ts';
import type { Inode } from '../../../vmm/loader/disk-boot/file-systems/file-system.ts';

/** Paths and contents, without the first "/". */
export type FakeFiles = Readonly<Record<string, string | Uint8Array>>;

function fakeFile(content: string | Uint8Array): Inode {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  return {
    kind: 'file',
    sizeBytes: bytes.length,
    read: (offset, length) => new Uint8Array(bytes.subarray(offset, offset + length)),
    entries: () => [],
  };
}

function fakeDirectory(files: FakeFiles, prefix: string): Inode {
  const inside = Object.keys(files).filter((path) => path.startsWith(prefix));
  const names = new Set(inside.map((path) => path.slice(prefix.length).split('/')[0] ?? ''));
  return {
    kind: 'directory',
    sizeBytes: 0,
    read: () => new Uint8Array(0),
    entries: () =>
      [...names].map((name) => {
        const content = files[prefix + name];
        const open = () =>
          content === undefined ? fakeDirectory(files, `${prefix}${name}/`) : fakeFile(content);
        return { name, open };
      }),
  };
}

export interface FakeVolumeOptions {
  readonly partition?: number;
  readonly use?: SearchedVolume['use'];
  readonly uuid?: string;
  readonly label?: string;
  readonly type?: SearchedVolume['fileSystem']['type'];
}

/** By default partition 1, which is ext4 with the UUID `uuid-1`. */
export function fakeVolume(
  files: FakeFiles,
  { partition = 1, use = 'other', uuid, label = '', type = 'ext4' }: FakeVolumeOptions = {},
): SearchedVolume {
  return {
    name: `partition ${partition}`,
    use,
    grubDevice: `hd0,gpt${partition}`,
    partition,
    fileSystem: {
      type,
      uuid: uuid ?? `uuid-${partition}`,
      label,
      ignoresCase: type === 'vfat',
      roots: [{ inode: fakeDirectory(files, '') }],
    },
  };
}
