import { TsvmError } from '../../errors.ts';
import type { FileLocks } from '../../host/file-locks.ts';
import { type Digest, parseDigest } from '../digest.ts';
import {
  familiarText,
  parseReference,
  type Reference,
  referenceText,
  repositoryName,
  withDefaultTag,
} from '../reference.ts';
import { Catalog, type ImageRecord } from './catalog.ts';
import { StoreContent } from './content.ts';
import { StoreFolders } from './folders.ts';
import { StoreLocks } from './locks.ts';
import { hasLeftovers, neededBy, type Swept, sweep, sweepTemporary } from './sweep.ts';

/** An image found by a user's name or ID. */
export interface FoundImage {
  readonly image: ImageRecord;
  /** The name it was found by; undefined when it was found by its ID. */
  readonly reference: Reference | undefined;
}

/** A new image for `add`. */
export type NewImage = Omit<ImageRecord, 'tags' | 'digests' | 'taggedMs'>;

/** A container that needs an image's layers, whether the image has names or not. */
export interface ImageUse {
  readonly containerId: string;
  readonly isRunning: boolean;
  readonly imageId: Digest;
  readonly layers: readonly Digest[];
}

/** A user's images: their content, and the list of them. */
export class ImageStore {
  readonly folders: StoreFolders;
  readonly locks: StoreLocks;
  readonly content: StoreContent;
  readonly catalog: Catalog;

  /** The containers that need images. */
  readonly uses: () => readonly ImageUse[];

  /**
   * @param folder need not exist
   * @param uses see {@link uses}
   */
  constructor(folder: string, locks: FileLocks, uses: () => readonly ImageUse[] = () => []) {
    this.uses = uses;
    this.folders = new StoreFolders(folder);
    this.locks = new StoreLocks(this.folders.lock, locks);
    this.content = new StoreContent(this.folders);
    this.catalog = new Catalog(this.folders, this.locks);
  }

  /** Runs `work` while no content is removed, even content that no image refers to yet. */
  async withContent<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    this.folders.create();
    this.#removeLeftovers();
    const lock = await this.locks.shareContent(signal);
    try {
      return await work();
    } finally {
      lock.release();
    }
  }

  #removeLeftovers(): void {
    if (!hasLeftovers(this.folders)) return;
    const lock = this.locks.tryOwnContent();
    if (lock === undefined) return;
    try {
      this.#sweepTemporary();
    } finally {
      lock.release();
    }
  }

  /** The content is owned. Whoever changes the catalog writes a file as well, without content. */
  #sweepTemporary(): void {
    const lock = this.locks.tryOwnCatalog();
    if (lock === undefined) return;
    try {
      sweepTemporary(this.folders);
    } finally {
      lock.release();
    }
  }

  /**
   * Removes content that no image needs. While content is in use, does nothing, because unneeded
   * content cannot be distinguished from content that is just being added.
   */
  removeUnneeded(): Swept {
    const lock = this.locks.tryOwnContent();
    if (lock === undefined) return { layers: [], bytes: 0 };
    try {
      const layers = this.uses().map((use) => use.layers);
      const swept = sweep(this.folders, neededBy(this.catalog.read(), this.content, layers));
      this.#sweepTemporary();
      return swept;
    } finally {
      lock.release();
    }
  }

  /**
   * Adds an image, or adds names to it. A tag that another image has moves to this one. The content
   * is in use: see {@link withContent}.
   * @param references full names, each with a tag or a digest
   */
  add(image: NewImage, references: readonly Reference[]): Promise<void> {
    return this.catalog.update((images) => ({
      images: withNames(images, image, references),
      result: undefined,
    }));
  }

  /**
   * Gives an image another name, if it is still there: whoever does not use content may find that it
   * has just been removed.
   * @param find of the images that there are then
   * @throws like `find`
   */
  addName(
    find: (images: readonly ImageRecord[]) => ImageRecord | undefined,
    reference: Reference,
  ): Promise<void> {
    return this.catalog.update((images) => {
      const image = find(images);
      if (image === undefined) return { images, result: undefined };
      return { images: withNames(images, image, [reference]), result: undefined };
    });
  }

  /**
   * Finds an image as Docker does: by its name, its ID, or the beginning of its ID.
   * @throws TsvmError `image-not-found`, `invalid-reference`
   */
  find(text: string, images: readonly ImageRecord[] = this.catalog.read()): FoundImage {
    const byId = images.find(({ id }) => id === text || id === `sha256:${text}`);
    if (byId !== undefined) return { image: byId, reference: undefined };
    const isWholeId = parseDigest(text) !== undefined || /^[a-f0-9]{64}$/.test(text);
    if (isWholeId) throw notFound(text);
    const reference = withDefaultTag(parseReference(text));
    const byName = images.find((image) => hasName(image, reference));
    if (byName !== undefined) return { image: byName, reference };
    const prefix = text.startsWith('sha256:') ? text : `sha256:${text}`;
    const byPrefix = images.filter(({ id }) => id.startsWith(prefix));
    const [first] = byPrefix;
    if (first !== undefined && byPrefix.length === 1 && /^sha256:[a-f0-9]+$/.test(prefix)) {
      return { image: first, reference: undefined };
    }
    throw notFound(familiarText(reference));
  }
}

function notFound(name: string): TsvmError {
  return new TsvmError('image-not-found', `No such image: ${name}`);
}

/** A digest counts more than the tag beside it. */
export function hasName(image: ImageRecord, reference: Reference): boolean {
  if (reference.digest === undefined) return image.tags.includes(referenceText(reference));
  if (image.digests.includes(referenceText({ ...reference, tag: undefined }))) return true;
  const repository = repositoryName(reference);
  return (
    image.manifest === (reference.digest as Digest) &&
    image.digests.some((name) => name.startsWith(`${repository}@`))
  );
}

/** The list with the given names added to an image. */
function withNames(
  images: readonly ImageRecord[],
  image: NewImage,
  references: readonly Reference[],
): ImageRecord[] {
  const tags = references.filter(({ digest }) => digest === undefined).map(referenceText);
  const digests = references
    .filter(({ digest }) => digest !== undefined)
    .map((reference) => referenceText({ ...reference, tag: undefined }));
  const own = images.find(({ id }) => id === image.id);
  const record: ImageRecord = {
    ...image,
    tags: union(own?.tags ?? [], tags),
    digests: union(own?.digests ?? [], digests),
    taggedMs: tags.length > 0 || own === undefined ? Date.now() : own.taggedMs,
  };
  const others = images.filter(({ id }) => id !== image.id);
  return [...others.map((other) => without(other, tags)), record];
}

function union(a: readonly string[], b: readonly string[]): string[] {
  return [...new Set([...a, ...b])];
}

function without(image: ImageRecord, tags: readonly string[]): ImageRecord {
  if (!image.tags.some((tag) => tags.includes(tag))) return image;
  return { ...image, tags: image.tags.filter((tag) => !tags.includes(tag)) };
}
