import type { ImageFile } from '../file/image-file.ts';
import type { DiskImage } from './image.ts';
import { Qcow2Image } from './qcow2/qcow2-image.ts';

/** A file of a chain of images. */
export interface ChainFile {
  readonly file: ImageFile;
  /** Depth of its image in the chain; 0 is the top. */
  readonly depth: number;
  /** It is an external data file. */
  readonly isDataFile: boolean;
}

/** The files of all layers, external data files included. */
export function* chainFiles(image: DiskImage): Generator<ChainFile, void, undefined> {
  let depth = 0;
  for (let layer: DiskImage | undefined = image; layer !== undefined; layer = layer.backing) {
    yield { file: layer.file, depth, isDataFile: false };
    if (layer instanceof Qcow2Image && layer.metadata.dataFile !== layer.file) {
      yield { file: layer.metadata.dataFile, depth, isDataFile: true };
    }
    depth++;
  }
}
