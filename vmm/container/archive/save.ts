/**
 * Saves images as an archive that is both an OCI image layout and what `docker load` and others know
 * as a Docker archive: the same blobs, with an index for each. Blobs are what they were when they
 * came, so their digests are too. The same images give the same bytes.
 */
import { createReadStream } from 'node:fs';
import { TsvmError } from '../../errors.ts';
import { type Digest, digestAlgorithm } from '../digest.ts';
import { MANIFEST_BYTES_MAX, OCI_INDEX } from '../manifest.ts';
import { familiarText, parseReference, type Reference, referenceText } from '../reference.ts';
import type { ImageRecord } from '../store/catalog.ts';
import type { ImageStore } from '../store/image-store.ts';
import { tarEnd, tarHeader, tarPadding } from '../tar/writer.ts';
import { blobName } from './layout.ts';

/** An image, and the names that are saved with it. */
export interface ImageToSave {
  readonly image: ImageRecord;
  readonly tags: readonly Reference[];
}

/** The images that a user has named: by a tag, which is saved with it, or by an ID. */
export function findImagesToSave(store: ImageStore, names: readonly string[]): ImageToSave[] {
  const images = store.catalog.read();
  const found = new Map<Digest, { image: ImageRecord; tags: Set<string> }>();
  for (const name of names) {
    const { image, reference } = store.find(name, images);
    const entry = found.get(image.id) ?? { image, tags: new Set<string>() };
    found.set(image.id, entry);
    if (reference?.tag !== undefined && reference.digest === undefined) {
      entry.tags.add(referenceText(reference));
    }
  }
  return [...found.values()].map(({ image, tags }) => ({
    image,
    tags: [...tags].sort().map(parseReference),
  }));
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
