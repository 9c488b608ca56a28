import { openForeignImage } from '../../backends/disk/foreign/open-foreign.ts';
import { diskFormat, imageFormat } from '../../backends/disk/format.ts';
import type { DiskImage } from '../../backends/disk/image.ts';
import { closeImage, type OpenImageOptions, openImage } from '../../backends/disk/open-image.ts';
import { hostFiles } from '../../kvm/disk.ts';

/** How a verb opens an image; what is not said is as safe as it can be. */
export type ImageAccess = Partial<Omit<OpenImageOptions, 'format' | 'hostFiles'>> & {
  /** As the user says; by the file's name when not given. */
  readonly format?: string | undefined;
  /** The option by which the user can say it; -f when not given. */
  readonly formatFlag?: '-f' | '-F' | '-O';
};

/** Opens images and closes them again. */
export class OpenImages {
  readonly #images: DiskImage[] = [];

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
    return image;
  }

  /** Closes one before the others; what it has to write is written. */
  close(image: DiskImage): void {
    const index = this.#images.indexOf(image);
    if (index >= 0) this.#images.splice(index, 1);
    closeImage(image);
  }

  /** Closes all, the last one first, whatever fails; the first failure counts. */
  closeAll(): void {
    const image = this.#images.pop();
    if (image === undefined) return;
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
    // What went wrong first is what is told.
    try {
      images.closeAll();
    } catch {}
    throw error;
  }
  images.closeAll();
  return result;
}
