/** Images in memory, in either format. */
import type { DiskImage } from '../../vmm/backends/disk/image/image.ts';
import { createQcow2 } from '../../vmm/backends/disk/image/qcow2/create/create.ts';
import type { CreateOptions } from '../../vmm/backends/disk/image/qcow2/create/create-options.ts';
import { Qcow2Image } from '../../vmm/backends/disk/image/qcow2/qcow2-image.ts';
import { RawImage } from '../../vmm/backends/disk/image/raw-image.ts';
import { MemoryImageFile } from './memory-image-file.ts';

/** @param parts data that is not zero: offset, and the byte that fills this many bytes */
export function rawInMemory(
  sizeBytes: number,
  parts: readonly (readonly [offset: number, length: number, byte: number])[] = [],
): RawImage {
  const image = new RawImage(new MemoryImageFile(new Uint8Array(0), 'memory.raw'));
  image.resizeSync(sizeBytes);
  for (const [offset, length, byte] of parts) {
    image.writeSync(offset, new Uint8Array(length).fill(byte));
  }
  return image;
}

export function qcow2InMemory(
  sizeBytes: number,
  options: Partial<CreateOptions> = {},
  backing?: DiskImage,
): Qcow2Image {
  const file = new MemoryImageFile(new Uint8Array(0), 'memory.qcow2');
  const named = backing && { name: 'backing', format: backing.format };
  createQcow2(file, { ...options, sizeBytes, backing: named });
  return Qcow2Image.open(file, { readOnly: false, backing });
}

/** The content that a guest would read. */
export function contentOf(image: DiskImage): Buffer {
  const bytes = Buffer.alloc(image.sizeBytes);
  image.readSync(0, bytes);
  return bytes;
}
