/**
 * The catalog of a store's images: one small file, replaced atomically. It contains everything that a
 * list of images shows, so that listing reads a single file. The rest is reached through the manifest
 * of an image, which refers to its configuration and layers.
 */
import { readFileSync } from 'node:fs';
import { TsvmError } from '../../errors.ts';
import { hasCode } from '../../util/error-code.ts';
import type { Digest } from '../digest.ts';
import type { StoreFolders } from './folders.ts';
import type { StoreLocks } from './locks.ts';
import { NewContent } from './new-content.ts';
import { storeFailure } from './store-failure.ts';

/** A layer of an image. */
export interface LayerRecord {
  /** The digest of the plain tar archive. */
  readonly diffId: Digest;
  /** Total size of its files in bytes, which Docker calls its size. */
  readonly sizeBytes: number;
}

export interface ImageRecord {
  /** The digest of the configuration, which is the image ID that users see. */
  readonly id: Digest;
  /** The manifest it came with last; `save` and `push` give it back. */
  readonly manifest: Digest;
  /** Full names with a tag. No two images have the same. */
  readonly tags: readonly string[];
  /** Full names with the digest of a manifest, or of the index that names it. */
  readonly digests: readonly string[];
  /** When it was built: milliseconds since 1970, 0 when it does not say. */
  readonly createdMs: number;
  /** When a name was last given to it. */
  readonly taggedMs: number;
  readonly layers: readonly LayerRecord[];
  /** `os/architecture[/variant]`. */
  readonly platform: string;
}

interface CatalogFile {
  readonly version: number;
  readonly images: readonly ImageRecord[];
}

const VERSION = 1;

export class Catalog {
  readonly #folders: StoreFolders;
  readonly #locks: StoreLocks;

  constructor(folders: StoreFolders, locks: StoreLocks) {
    this.#folders = folders;
    this.#locks = locks;
  }

  /**
   * The images, newest first. No lock is needed: the file is replaced as a whole.
   * @throws TsvmError `store-failed` when it is damaged or of a newer tsvm
   */
  read(): ImageRecord[] {
    let text: string;
    try {
      text = readFileSync(this.#folders.catalog, 'utf8');
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return [];
      throw storeFailure(this.#folders.root, error);
    }
    return this.#parse(text).images.toSorted(
      (a, b) => b.createdMs - a.createdMs || (a.id < b.id ? -1 : 1),
    );
  }

  /** Changes the list. `change` returns the new list and a result for the caller. */
  async update<T>(
    change: (images: ImageRecord[]) => {
      readonly images: readonly ImageRecord[];
      readonly result: T;
    },
  ): Promise<T> {
    this.#folders.create();
    const lock = await this.#locks.ownCatalog();
    try {
      const { images, result } = change(this.read());
      const content = await NewContent.create(this.#folders.temporary);
      try {
        const file: CatalogFile = { version: VERSION, images };
        await content.append(Buffer.from(`${JSON.stringify(file)}\n`));
        await content.appear(this.#folders.catalog);
      } finally {
        await content.discard();
      }
      return result;
    } finally {
      lock.release();
    }
  }

  #parse(text: string): CatalogFile {
    const path = this.#folders.catalog;
    let file: CatalogFile;
    try {
      file = JSON.parse(text);
    } catch (cause) {
      throw new TsvmError(
        'store-failed',
        `${path} is damaged: move it away, then pull or load the images again`,
        { cause },
      );
    }
    if (file.version !== VERSION || !Array.isArray(file.images)) {
      throw new TsvmError(
        'store-failed',
        `${path} needs another version of tsvm: use that version`,
      );
    }
    return file;
  }
}
