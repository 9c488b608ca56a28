import { openForeignImage } from '../../backends/disk/image/foreign/open-foreign.ts';
import { diskFormat, imageFormat } from '../../backends/disk/image/format.ts';
import type { DiskImage } from '../../backends/disk/image/image.ts';
import {
  closeImage,
  type OpenImageOptions,
  openImage,
} from '../../backends/disk/image/open-image.ts';
import { KeptBitmaps } from '../../backends/disk/image/qcow2/bitmap/kept-bitmaps.ts';
import { Qcow2Image } from '../../backends/disk/image/qcow2/qcow2-image.ts';
import { hostFiles } from '../../host/host-files.ts';
import { printMessage } from '../standard-streams.ts';

/** How a verb opens an image; the defaults are the safest choice. */
export type ImageAccess = Partial<Omit<OpenImageOptions, 'format' | 'hostFiles'>> & {
  /** As given by the user; by default from the file's name. */
  readonly format?: string | undefined;
  /** The option that specifies it, for messages; `-f` by default. */
  readonly formatFlag?: '-f' | '-F' | '-O';
};

/** Opens images and closes them again. */
export class OpenImages {
  readonly #images: DiskImage[] = [];
  readonly #bitmaps = new Map<Qcow2Image, KeptBitmaps>();

  open(path: string, { formatFlag = '-f', ...access }: ImageAccess = {}): DiskImage {
    const say = (format: string) => `${formatFlag} ${format}`;
    const image = openImage(path, {
      readOnly: true,
      backing: 'same-folder',
      ...access,
      format:
        (access.readOnly ?? true)
          ? imageFormat(path, access.format, say)
          : diskFormat(path, access.format, say),
      openForeign: openForeignImage,
      hostFiles: hostFiles(),
    });
    this.#images.push(image);
    for (let layer: DiskImage | undefined = image; layer !== undefined; layer = layer.backing) {
      if (!(layer instanceof Qcow2Image) || layer.readOnly) continue;
      if (layer.header.bitmaps !== undefined) this.#bitmaps.set(layer, new KeptBitmaps(layer));
    }
    return image;
  }

  /** Closes one image before the others, after writing its outstanding metadata. */
  close(image: DiskImage): void {
    const index = this.#images.indexOf(image);
    if (index >= 0) this.#images.splice(index, 1);
    this.#storeBitmaps(image);
    closeImage(image);
  }

  /** The verb changes an image's bitmaps itself. */
  leaveBitmaps(image: Qcow2Image): void {
    this.#bitmaps.get(image)?.leave();
    this.#bitmaps.delete(image);
  }

  /** A change of all content makes an image's bitmaps invalid. */
  dropBitmaps(image: Qcow2Image): void {
    this.#bitmaps.get(image)?.drop();
  }

  /** Stores the bitmaps of an image and its layers again, or says that they are lost. */
  #storeBitmaps(image: DiskImage): void {
    for (let layer: DiskImage | undefined = image; layer !== undefined; layer = layer.backing) {
      if (!(layer instanceof Qcow2Image)) continue;
      const bitmaps = this.#bitmaps.get(layer);
      if (bitmaps === undefined) continue;
      this.#bitmaps.delete(layer);
      const lost = bitmaps.store();
      if (lost !== undefined) {
        printMessage(`tsvm image: ${layer.file.path} had bitmaps, which are gone: ${lost}\n`);
      }
    }
  }

  /** Closes all in reverse order, even when one fails; throws the first failure. */
  closeAll(): void {
    const image = this.#images.pop();
    if (image === undefined) return;
    this.#storeBitmaps(image);
    try {
      closeImage(image);
    } finally {
      this.closeAll();
    }
  }
}

/** Opens images with `open`, and closes them when `work` is done. */
export async function withImages<T>(work: (images: OpenImages) => Promise<T> | T): Promise<T> {
  const images = new OpenImages();
  let result: T;
  try {
    result = await work(images);
  } catch (error) {
    // The first failure is reported.
    try {
      images.closeAll();
    } catch {}
    throw error;
  }
  images.closeAll();
  return result;
}
