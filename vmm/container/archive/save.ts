/**
 * Saves images as an archive that is both an OCI image layout and what `docker load` and others know
 * as a Docker archive: the same blobs, with an index for each. Blobs are what they were when they
 * came, so their digests are too. The same images give the same bytes.
 */
import { createReadStream } from 'node:fs';
import { TsvmError } from '../../errors.ts';
import { type Digest, digestAlgorithm } from '../digest.ts';
import { MANIFEST_BYTES_MAX, OCI_INDEX } from '../manifest.ts';
import {
  familiarText,
  parseReference,
  type Reference,
  referenceText,
  repositoryName,
} from '../reference.ts';
import type { ImageRecord } from '../store/catalog.ts';
import type { FoundImage, ImageStore } from '../store/image-store.ts';
import { tarEnd, tarHeader, tarPadding } from '../tar/writer.ts';
import { blobName } from './layout.ts';

/** An image, and the names that are saved with it. */
export interface ImageToSave {
  readonly image: ImageRecord;
  readonly tags: readonly Reference[];
}

/**
 * The images that a user has named: by a tag, which is saved with it; by a repository, all of whose
 * tags are; or by an ID.
 * @throws TsvmError `image-not-found`, `invalid-reference`
 */
export function findImagesToSave(store: ImageStore, names: readonly string[]): ImageToSave[] {
  const images = store.catalog.read();
  const found = new Map<Digest, { image: ImageRecord; tags: Set<string> }>();
  const add = (image: ImageRecord, tags: readonly string[]): void => {
    const entry = found.get(image.id) ?? { image, tags: new Set<string>() };
    found.set(image.id, entry);
    for (const tag of tags) entry.tags.add(tag);
  };
  for (const name of names) {
    const ofRepository = imagesOfRepository(name, images);
    for (const { image, tags } of ofRepository) add(image, tags);
    if (ofRepository.length > 0) continue;
    const { image, reference } = findOne(store, name, images);
    const isTag = reference?.tag !== undefined && reference.digest === undefined;
    add(image, isTag ? [referenceText(reference)] : []);
  }
  return [...found.values()].map(({ image, tags }) => ({
    image,
    tags: [...tags].sort().map(parseReference),
  }));
}

/** None unless it is the name of a repository, without a tag. */
function imagesOfRepository(
  name: string,
  images: readonly ImageRecord[],
): { readonly image: ImageRecord; readonly tags: readonly string[] }[] {
  if (/^(?:sha256:)?[a-f0-9]{64}$/.test(name)) return [];
  const reference = parseReference(name);
  if (reference.tag !== undefined || reference.digest !== undefined) return [];
  const start = `${repositoryName(reference)}:`;
  return images
    .map((image) => ({ image, tags: image.tags.filter((tag) => tag.startsWith(start)) }))
    .filter(({ tags }) => tags.length > 0);
}

/** Docker's message for a missing tag differs from that for other missing names. */
function findOne(store: ImageStore, name: string, images: readonly ImageRecord[]): FoundImage {
  try {
    return store.find(name, images);
  } catch (error) {
    if (!(error instanceof TsvmError) || error.code !== 'image-not-found') throw error;
    const hasTag = /:[^/:]+$/.test(name) && !name.startsWith('sha256:');
    const message = hasTag ? 'reference does not exist' : `No such image: ${name}`;
    throw new TsvmError('image-not-found', message, { cause: error });
  }
}

const COPY_BYTES = 2 ** 20;

/** The archive, piece by piece. The store's content must be in use. */
export async function* saveImages(
  store: ImageStore,
  images: readonly ImageToSave[],
): AsyncGenerator<Uint8Array> {
  const blobs = new Map<Digest, number>();
  const indexEntries: object[] = [];
  const dockerEntries: object[] = [];
  for (const { image, tags } of images) {
    const manifest = store.content.readManifest(image.manifest);
    const manifestBytes = store.content.blobBytes(image.manifest) ?? 0;
    blobs.set(image.manifest, manifestBytes);
    for (const { digest, size } of [manifest.config, ...manifest.layers]) blobs.set(digest, size);
    const descriptor = {
      mediaType: manifest.mediaType,
      digest: image.manifest,
      size: manifestBytes,
    };
    const [os, architecture, variant] = image.platform.split('/');
    const platform = { architecture, os, ...(variant && { variant }) };
    if (tags.length === 0) indexEntries.push({ ...descriptor, platform });
    for (const tag of tags) {
      const annotations = {
        'io.containerd.image.name': referenceText(tag),
        'org.opencontainers.image.ref.name': tag.tag,
      };
      indexEntries.push({ ...descriptor, annotations, platform });
    }
    dockerEntries.push({
      Config: blobName(manifest.config.digest),
      RepoTags: tags.length > 0 ? tags.map(familiarText) : null,
      Layers: manifest.layers.map(({ digest }) => blobName(digest)),
    });
  }
  const index = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: indexEntries };
  const small = [
    ['index.json', index],
    ['manifest.json', dockerEntries],
    ['oci-layout', { imageLayoutVersion: '1.0.0' }],
  ] as const;
  yield tarHeader({ name: 'blobs/', sizeBytes: 0 });
  const algorithms = new Set([...blobs.keys()].map(digestAlgorithm));
  for (const algorithm of [...algorithms].sort()) {
    yield tarHeader({ name: `blobs/${algorithm}/`, sizeBytes: 0 });
  }
  for (const digest of [...blobs.keys()].sort()) yield* savedBlob(store, digest);
  for (const [name, value] of small) {
    const bytes = Buffer.from(JSON.stringify(value));
    if (bytes.length > MANIFEST_BYTES_MAX) {
      throw new TsvmError('invalid-config', 'these are too many images for one archive');
    }
    yield tarHeader({ name, sizeBytes: bytes.length });
    yield bytes;
    yield tarPadding(bytes.length);
  }
  yield tarEnd();
}

async function* savedBlob(store: ImageStore, digest: Digest): AsyncGenerator<Uint8Array> {
  const sizeBytes = store.content.blobBytes(digest);
  if (sizeBytes === undefined) {
    throw new TsvmError(
      'store-failed',
      `the image store is damaged: ${digest} is missing; pull or load the image again`,
    );
  }
  yield tarHeader({ name: blobName(digest), sizeBytes });
  yield* createReadStream(store.folders.blob(digest), { highWaterMark: COPY_BYTES });
  yield tarPadding(sizeBytes);
}
