import { existsSync, readFileSync, statSync } from 'node:fs';
import { TsvmError } from '../../errors.ts';
import { type Digest, digestBytes } from '../digest.ts';
import { CONFIG_BYTES_MAX, type ImageConfig, parseImageConfig } from '../image-config.ts';
import { type Index, type Manifest, parseManifest } from '../manifest.ts';
import type { StoreFolders } from './folders.ts';
import { NewContent } from './new-content.ts';
import { storeFailure } from './store-failure.ts';

/** A store's blobs and layers, by their digests. */
export class StoreContent {
  readonly #folders: StoreFolders;

  constructor(folders: StoreFolders) {
    this.#folders = folders;
  }

  hasBlob(digest: Digest): boolean {
    return existsSync(this.#folders.blob(digest));
  }

  hasLayer(diffId: Digest): boolean {
    return existsSync(this.#folders.layer(diffId));
  }

  /** Bytes of a blob; undefined when it is not here. */
  blobBytes(digest: Digest): number | undefined {
    return statSync(this.#folders.blob(digest), { throwIfNoEntry: false })?.size;
  }

  /**
   * Reads a small blob and checks its digest.
   * @throws TsvmError `store-failed` when it is missing or damaged
   */
  readBlob(digest: Digest): Buffer {
    const path = this.#folders.blob(digest);
    const sizeBytes = this.blobBytes(digest);
    if (sizeBytes === undefined) throw damaged(`${path} is missing`);
    if (sizeBytes > CONFIG_BYTES_MAX) throw damaged(`${path} is too large`);
    const bytes = readFileSync(path);
    if (digestBytes(bytes, digest) !== digest) throw damaged(`${path} is damaged`);
    return bytes;
  }

  readManifest(digest: Digest): Manifest {
    const manifest = this.readManifestOrIndex(digest);
    if (manifest.kind === 'manifest') return manifest;
    throw damaged(`${digest} is not an image manifest`);
  }

  readManifestOrIndex(digest: Digest): Manifest | Index {
    return parseManifest(this.readBlob(digest));
  }

  readConfig(digest: Digest): ImageConfig {
    return parseImageConfig(this.readBlob(digest));
  }

  /** Keeps a small blob. @returns its digest */
  async addBlob(bytes: Uint8Array, like?: Digest): Promise<Digest> {
    const digest = digestBytes(bytes, like);
    if (this.hasBlob(digest)) return digest;
    const content = await NewContent.create(this.#folders.temporary);
    try {
      await content.append(bytes);
      await content.appear(this.#folders.blob(digest));
    } catch (error) {
      throw storeFailure(this.#folders.root, error);
    } finally {
      await content.discard();
    }
    return digest;
  }
}

function damaged(what: string): TsvmError {
  return new TsvmError(
    'store-failed',
    `the image store is damaged: ${what}; remove the image and pull or load it again`,
  );
}
