/**
 * Manifests and image indexes: OCI image-spec, "Image Manifest" and "Image Index"; Docker's image
 * manifest version 2, schema 2. They are untrusted input.
 */
import { TsvmError } from '../errors.ts';
import { type Digest, digestOf } from './digest.ts';
import { arrayAt, type JsonObject, objectOf, parseJson, stringAt } from './json.ts';
import { type Platform, platformOf } from './platform.ts';

export const MANIFEST_BYTES_MAX = 4 * 2 ** 20;
const LAYERS_MAX = 512;
const INDEX_ENTRIES_MAX = 2048;

export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
export const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
export const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json';
export const OCI_LAYER = 'application/vnd.oci.image.layer.v1.tar';
const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';
const DOCKER_INDEX = 'application/vnd.docker.distribution.manifest.list.v2+json';
const DOCKER_CONFIG = 'application/vnd.docker.container.image.v1+json';

/** The media types requested from a registry. */
export const MANIFEST_TYPES = [OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST] as const;

const CONFIG_TYPES: ReadonlySet<string> = new Set([OCI_CONFIG, DOCKER_CONFIG]);
/** The compression is determined by a layer's first bytes, because media types may be wrong. */
const LAYER_TYPE =
  /^application\/vnd\.(?:oci\.image\.layer(?:\.nondistributable)?\.v1\.tar(?:\+gzip|\+zstd)?|docker\.image\.rootfs(?:\.foreign)?\.diff\.tar(?:\.gzip|\.zstd)?)$/;

/** A reference to content: OCI image-spec, "Content Descriptors". */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
}

export interface Manifest {
  readonly kind: 'manifest';
  readonly mediaType: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

export interface IndexEntry extends Descriptor {
  readonly platform: Platform | undefined;
  readonly annotations: JsonObject;
}

export interface Index {
  readonly kind: 'index';
  readonly mediaType: string;
  readonly entries: readonly IndexEntry[];
}

/**
 * @param mediaType type according to the sender; the one in the document takes precedence
 * @throws TsvmError `invalid-image`
 */
export function parseManifest(bytes: Uint8Array, mediaType?: string): Manifest | Index {
  if (bytes.length > MANIFEST_BYTES_MAX) {
    throw invalid(`the manifest has more than ${MANIFEST_BYTES_MAX} bytes`);
  }
  const json = objectOf(parseJson(bytes, 'the manifest'), 'the manifest');
  if (json['schemaVersion'] !== 2) {
    throw invalid(
      json['schemaVersion'] === 1
        ? 'its manifest has schema version 1, which is obsolete: the image must be pushed again'
        : 'the manifest has no schema version 2',
    );
  }
  const type = stringAt(json, 'mediaType') ?? mediaType?.split(';')[0]?.trim() ?? guessType(json);
  switch (type) {
    case OCI_MANIFEST:
    case DOCKER_MANIFEST:
      return imageManifest(json, type);
    case OCI_INDEX:
    case DOCKER_INDEX:
      return imageIndex(json, type);
    default:
      throw invalid(`the manifest is of an unknown media type: ${JSON.stringify(type)}`);
  }
}

/** Old OCI manifests contain no media type, and files of an image layout have none outside. */
function guessType(json: JsonObject): string {
  return 'manifests' in json ? OCI_INDEX : OCI_MANIFEST;
}

function imageManifest(json: JsonObject, mediaType: string): Manifest {
  if ('manifests' in json) throw invalid('the manifest also claims to be an index');
  const config = descriptorOf(json['config'], 'the configuration');
  if (!CONFIG_TYPES.has(config.mediaType)) {
    throw invalid(`it is not a container image: its configuration is ${shown(config.mediaType)}`);
  }
  const layers = arrayAt(json, 'layers', LAYERS_MAX, 'the manifest').map((layer, index) => {
    const descriptor = descriptorOf(layer, `layer ${index + 1}`);
    if (LAYER_TYPE.test(descriptor.mediaType)) return descriptor;
    throw invalid(`layer ${index + 1} is of an unknown media type: ${shown(descriptor.mediaType)}`);
  });
  return { kind: 'manifest', mediaType, config, layers };
}

function imageIndex(json: JsonObject, mediaType: string): Index {
  if ('layers' in json) throw invalid('the index also claims to be a manifest');
  const list = arrayAt(json, 'manifests', INDEX_ENTRIES_MAX, 'the index');
  const entries = list.map((entry, index) => {
    const what = `entry ${index + 1} of the index`;
    const object = objectOf(entry, what);
    const platform = object['platform'];
    const annotations = object['annotations'];
    return {
      ...descriptorOf(entry, what),
      platform: platform === undefined ? undefined : platformOf(objectOf(platform, what)),
      annotations: annotations === undefined ? {} : objectOf(annotations, what),
    };
  });
  return { kind: 'index', mediaType, entries };
}

function descriptorOf(value: unknown, what: string): Descriptor {
  const object = objectOf(value, what);
  const { size } = object;
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw invalid(`${what} has no valid size`);
  }
  return {
    mediaType: stringAt(object, 'mediaType') ?? '',
    digest: digestOf(object['digest'], what),
    size,
  };
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}

function invalid(message: string): TsvmError {
  return new TsvmError('invalid-image', message);
}
