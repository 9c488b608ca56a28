/**
 * The layout of an image store:
 *
 * ```
 * images.json                the images and their names; see `catalog.ts`
 * lock                       empty; see `locks.ts`
 * blobs/<algorithm>/<hex>    manifests, configurations and layers as they came
 * layers/<algorithm>/<hex>   layers as plain tar archives, by the hash of that: their DiffID
 * rootfs/<hex>.erofs         metadata of root file systems; see `../rootfs`
 * tmp/                       files being written
 * ```
 * Files outside `tmp` are complete: they are synced and then renamed into place.
 */
import { join } from 'node:path';
import { makeFolders } from '../../host/make-folders.ts';
import { type Digest, digestAlgorithm, digestHex } from '../digest.ts';
import { storeFailure } from './store-failure.ts';

export class StoreFolders {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  get catalog(): string {
    return join(this.root, 'images.json');
  }

  get lock(): string {
    return join(this.root, 'lock');
  }

  get blobs(): string {
    return join(this.root, 'blobs');
  }

  get layers(): string {
    return join(this.root, 'layers');
  }

  get rootfs(): string {
    return join(this.root, 'rootfs');
  }

  get temporary(): string {
    return join(this.root, 'tmp');
  }

  blob(digest: Digest): string {
    return join(this.blobs, digestAlgorithm(digest), digestHex(digest));
  }

  layer(diffId: Digest): string {
    return join(this.layers, digestAlgorithm(diffId), digestHex(diffId));
  }

  /** @param key hexadecimal digits */
  metadataImage(key: string): string {
    return join(this.rootfs, `${key}.erofs`);
  }

  /** Makes the folders that are missing; only their owner may enter the store. */
  create(): void {
    try {
      makeFolders(this.root, 0o700);
      for (const folder of [this.blobs, this.layers]) {
        for (const algorithm of ['sha256', 'sha512']) {
          makeFolders(join(folder, algorithm));
        }
      }
      makeFolders(this.rootfs);
      makeFolders(this.temporary);
    } catch (error) {
      throw storeFailure(this.root, error);
    }
  }
}
