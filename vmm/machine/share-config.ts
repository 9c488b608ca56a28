import { FS_TAG_BYTES_MAX } from '../devices/virtio/fs/fs-config.ts';
import { BOOLEAN, checkFields, invalid, type Kind, TEXT } from './config-fields.ts';

/** A folder of the host that the guest can mount: `mount -t virtiofs <tag> <folder>`. */
export interface ShareConfig {
  readonly path: string;
  /** 1 to 36 bytes, unique. */
  readonly tag: string;
  readonly readOnly?: boolean | undefined;
}

export type ResolvedShare = ShareConfig & { readonly readOnly: boolean };

const SHARE_FIELDS: Readonly<Record<keyof ShareConfig, Kind>> = {
  path: TEXT,
  tag: TEXT,
  readOnly: BOOLEAN,
};

function resolveShare(share: ShareConfig): ResolvedShare {
  checkFields('the share', share, SHARE_FIELDS);
  const { path, tag } = share;
  if (!path) invalid('a share has no "path": name the folder');
  const tagBytes = Buffer.byteLength(tag ?? '');
  if (tagBytes < 1 || tagBytes > FS_TAG_BYTES_MAX || tag.includes('\0')) {
    invalid(`the share ${path}: give a tag of 1 to ${FS_TAG_BYTES_MAX} bytes`);
  }
  return { path, tag, readOnly: share.readOnly ?? false };
}

/**
 * Fills in the defaults and checks all of it.
 * @throws TsvmError `invalid-config`
 */
export function resolveShares(shares: readonly ShareConfig[]): readonly ResolvedShare[] {
  const tags = new Set<string>();
  return shares.map((share) => {
    const resolved = resolveShare(share);
    if (tags.has(resolved.tag)) invalid(`two shares have the tag ${resolved.tag}`);
    tags.add(resolved.tag);
    return resolved;
  });
}
