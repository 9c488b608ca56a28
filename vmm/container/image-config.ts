/** Image configurations: OCI image-spec, "Image Configuration". */
import { TsvmError } from '../errors.ts';
import { type Digest, digestOf } from './digest.ts';
import { arrayAt, isObject, type JsonObject, objectOf, parseJson, stringAt } from './json.ts';
import { type Platform, platformOf } from './platform.ts';

export const CONFIG_BYTES_MAX = 8 * 2 ** 20;
const HISTORY_MAX = 4096;
const LAYERS_MAX = 512;

/** A step of an image's build. */
export interface HistoryEntry {
  readonly createdMs: number;
  readonly createdBy: string;
  readonly comment: string;
  /** It made no layer. */
  readonly emptyLayer: boolean;
}

export interface ImageConfig {
  readonly platform: Platform;
  /** Build time in milliseconds since 1970; 0 if unknown. */
  readonly createdMs: number;
  /** Digests of the uncompressed layers, the lowest first. */
  readonly diffIds: readonly Digest[];
  readonly history: readonly HistoryEntry[];
  /** How its containers are to be run. */
  readonly run: JsonObject;
  /** The complete JSON. */
  readonly json: JsonObject;
}

/** @throws TsvmError `invalid-image` */
export function parseImageConfig(bytes: Uint8Array): ImageConfig {
  const what = 'the image configuration';
  if (bytes.length > CONFIG_BYTES_MAX) {
    throw new TsvmError('invalid-image', `${what} has more than ${CONFIG_BYTES_MAX} bytes`);
  }
  const json = objectOf(parseJson(bytes, what), what);
  const rootfs = objectOf(json['rootfs'], `the root file system of ${what}`);
  const diffIds = arrayAt(rootfs, 'diff_ids', LAYERS_MAX, what);
  return {
    platform: platformOf(json),
    createdMs: parseTime(json['created']),
    diffIds: diffIds.map((id, index) => digestOf(id, `layer ${index + 1} of ${what}`)),
    history: historyOf(json),
    run: isObject(json['config']) ? json['config'] : {},
    json,
  };
}

function historyOf(json: JsonObject): HistoryEntry[] {
  if (!Array.isArray(json['history'])) return [];
  return arrayAt(json, 'history', HISTORY_MAX, 'the image configuration').map((entry) => {
    const object = isObject(entry) ? entry : {};
    return {
      createdMs: parseTime(object['created']),
      createdBy: stringAt(object, 'created_by') ?? '',
      comment: stringAt(object, 'comment') ?? '',
      emptyLayer: object['empty_layer'] === true,
    };
  });
}

/** Parses an RFC 3339 time; 0 if it is invalid. */
function parseTime(text: unknown): number {
  const ms = typeof text === 'string' ? Date.parse(text) : Number.NaN;
  return Number.isFinite(ms) && ms > 0 ? ms : 0;
}
