/** What GRUB's commands find on the disk: "Device syntax" and "search" of its manual. */
import type { DiskFile } from '../boot-entry.ts';
import { findFile, rootOfDirectory, type SearchedVolume } from '../searched-volume.ts';

/** A path with its volume: `(hd0,gpt2)/boot/vmlinuz`, or relative to `$root`. */
export class GrubDevices {
  readonly #volumes: readonly SearchedVolume[];

  constructor(volumes: readonly SearchedVolume[]) {
    this.#volumes = volumes;
  }

  /** @param root the value of `$root` */
  file(path: string, root: string): DiskFile | undefined {
    const { volume, rest } = this.#resolve(path, root);
    return volume && findFile(volume, rest);
  }

  isDirectory(path: string, root: string): boolean {
    const { volume, rest } = this.#resolve(path, root);
    return volume !== undefined && rootOfDirectory(volume, rest) !== undefined;
  }

  /** The volume of a device, with or without parentheses. */
  volume(device: string): SearchedVolume | undefined {
    const name = device.replace(/^\(|\)$/g, '');
    // `hd0,2` and `hd0,gpt2` are the same; there is one disk.
    const [, partition] = /^hd\d+,(?:gpt|msdos)?(\d+)$/.exec(name) ?? [];
    const wanted = partition === undefined ? undefined : Number(partition);
    return this.#volumes.find((volume) =>
      wanted === undefined ? volume.grubDevice === name : volume.partition === wanted,
    );
  }

  /** `search`: the device with a UUID, a label or a file. */
  search(by: 'uuid' | 'label' | 'file', value: string): string | undefined {
    const found = this.#volumes.find((volume) => {
      const { uuid, label } = volume.fileSystem;
      if (by === 'uuid') return uuid.toLowerCase() === value.toLowerCase();
      return by === 'label' ? label === value : findFile(volume, value) !== undefined;
    });
    return found?.grubDevice;
  }

  #resolve(path: string, root: string): { volume: SearchedVolume | undefined; rest: string } {
    const end = path.startsWith('(') ? path.indexOf(')') : -1;
    if (end < 0) return { volume: this.volume(root), rest: path };
    return { volume: this.volume(path.slice(0, end + 1)), rest: path.slice(end + 1) };
  }
}
