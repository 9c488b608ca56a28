/** Pushes an image to a registry. */
import type { Digest } from './digest.ts';
import type { Descriptor } from './manifest.ts';
import { parseReference, type Reference } from './reference.ts';
import type { RegistryClient } from './registry/registry-client.ts';
import { type UploadOutcome, uploadBlob, uploadManifest } from './registry/upload.ts';
import type { ImageRecord } from './store/catalog.ts';
import type { ImageStore } from './store/image-store.ts';

export interface PushProgress {
  layers(digests: readonly Digest[]): void;
  sent(digest: Digest, bytes: number, totalBytes: number): void;
  done(digest: Digest, outcome: UploadOutcome): void;
}

export interface PushedImage {
  readonly digest: Digest;
  /** Bytes of the manifest. */
  readonly sizeBytes: number;
}

const LAYERS_AT_A_TIME = 3;

/**
 * @param reference with a tag
 * @throws TsvmError `registry-denied`, `registry-failed`, `store-failed`
 */
export function pushImage(
  store: ImageStore,
  client: RegistryClient,
  image: ImageRecord,
  reference: Reference,
  progress: PushProgress,
  signal?: AbortSignal,
): Promise<PushedImage> {
  return store.withContent(async () => {
    const manifest = store.content.readManifest(image.manifest);
    const bytes = store.content.readBlob(image.manifest);
    const layers = new Map(manifest.layers.map((layer) => [layer.digest, layer]));
    const mountFrom = image.digests
      .map(parseReference)
      .filter(({ domain }) => domain === reference.domain)
      .map(({ path }) => path);
    progress.layers([...layers.keys()]);
    const send = (blob: Descriptor, onProgress: (bytes: number) => void) =>
      uploadBlob(client, {
        repository: reference.path,
        blob,
        path: store.folders.blob(blob.digest),
        mountFrom,
        onProgress,
        signal,
      });
    const todo = [...layers.values()];
    const worker = async (): Promise<void> => {
      for (let layer = todo.shift(); layer !== undefined; layer = todo.shift()) {
        const { digest, size } = layer;
        const outcome = await send(layer, (sent) => progress.sent(digest, sent, size));
        progress.done(digest, outcome);
      }
    };
    await Promise.all(Array.from({ length: LAYERS_AT_A_TIME }, worker));
    await send(manifest.config, () => {});
    const { mediaType } = manifest;
    const digest = image.manifest;
    await uploadManifest(
      client,
      reference.path,
      reference.tag ?? '',
      { bytes, digest, mediaType },
      signal,
    );
    const named: Reference = { ...reference, tag: undefined, digest };
    await store.addName((images) => images.find(({ id }) => id === image.id), named);
    return { digest, sizeBytes: bytes.length };
  }, signal);
}
