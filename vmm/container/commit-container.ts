/** Makes an image of what a container has written, on top of the image it was made from. */
import type { ContainerConfig } from './containers/container-config.ts';
import { type Digest, digestBytes } from './digest.ts';
import type { JsonObject } from './json.ts';
import { ingestLayer } from './layer/ingest.ts';
import { type Descriptor, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST } from './manifest.ts';
import { ensureRootfs } from './pull.ts';
import type { Reference } from './reference.ts';
import type { ImageStore } from './store/image-store.ts';

export interface CommitOptions {
  readonly container: ContainerConfig;
  /** The changes, with OCI's whiteouts. */
  readonly layer: AsyncIterable<Uint8Array>;
  /** How containers of the image are to be run; see {@link runSettings}. */
  readonly run: JsonObject;
  readonly author: string;
  readonly comment: string;
  readonly reference: Reference | undefined;
  readonly signal: AbortSignal;
}

/** @returns the image's ID @throws TsvmError `invalid-image`, `image-not-found`, `store-failed` */
export function commitContainer(store: ImageStore, options: CommitOptions): Promise<Digest> {
  const { author, comment, container, layer, reference, run, signal } = options;
  return store.withContent(async () => {
    const base = store.find(container.imageId).image;
    const manifest = store.content.readManifest(base.manifest);
    const { history = [], ...config } = store.content.readConfig(base.id).json as {
      readonly history?: readonly object[];
    } & JsonObject;
    const source = { bytes: layer, blob: undefined, diffId: undefined, name: 'the layer', signal };
    const { blob, blobBytes, diffId } = await ingestLayer(source, store.folders);
    const diffIds = [...base.layers.map((one) => one.diffId), diffId];
    const layers = await ensureRootfs(store, diffIds);
    const createdMs = Date.now();
    const created = new Date(createdMs).toISOString();
    const step = {
      created,
      created_by: container.command.join(' '),
      ...(author !== '' && { author }),
      ...(comment !== '' && { comment }),
    };
    const bytes = Buffer.from(
      JSON.stringify({
        ...config,
        created,
        ...(author !== '' && { author }),
        config: run,
        rootfs: { type: 'layers', diff_ids: diffIds },
        history: [...history, step],
      }),
    );
    const id = await store.content.addBlob(bytes);
    const newManifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: OCI_MANIFEST,
        config: { mediaType: OCI_CONFIG, digest: id, size: bytes.length },
        layers: [
          ...manifest.layers.map(ociLayer),
          { mediaType: OCI_LAYER, digest: blob, size: blobBytes },
        ],
      }),
    );
    await store.content.addBlob(newManifest);
    await store.add(
      {
        id,
        manifest: digestBytes(newManifest),
        createdMs,
        layers,
        platform: base.platform,
      },
      reference === undefined ? [] : [reference],
    );
    return id;
  }, signal);
}

/** Docker's media types in an OCI manifest would be a mix that registries refuse. */
function ociLayer({ digest, mediaType, size }: Descriptor): Descriptor {
  const compression = /(?:\.|\+)(gzip|zstd)$/.exec(mediaType)?.[1];
  const suffix = compression === undefined ? '' : `+${compression}`;
  return { mediaType: OCI_LAYER + suffix, digest, size };
}

/**
 * The settings of a container, as an image has them: OCI image-spec, "config".
 * @param base of the image that the container was made from
 */
export function runSettings(container: ContainerConfig, base: JsonObject): JsonObject {
  const { command, cwd, entrypoint, env, labels, network, stopSignal, user } = container;
  const exposed = network.exposed.map((port) => [port, {}]);
  return {
    ...base,
    ...(user !== '' && { User: user }),
    ...(exposed.length > 0 && { ExposedPorts: Object.fromEntries(exposed) }),
    Env: env,
    Entrypoint: entrypoint ?? null,
    Cmd: command,
    WorkingDir: cwd,
    Labels: labels,
    ...(stopSignal !== 'SIGTERM' && { StopSignal: stopSignal }),
  };
}
