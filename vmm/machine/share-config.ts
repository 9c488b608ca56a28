import { FS_TAG_BYTES_MAX } from '../devices/virtio/fs/fs-config.ts';
import { BOOLEAN, checkFields, invalid, type Kind, LIST, TEXT } from './config-fields.ts';

/** A folder of the host that the guest can mount: `mount -t virtiofs <tag> <folder>`. */
export interface ShareConfig {
  readonly path: string;
  /** 1 to 36 bytes, unique. */
  readonly tag: string;
  readonly readOnly?: boolean | undefined;
}

/** A file or folder of the host in a {@link ShareTreeConfig}. */
export interface ShareEntryConfig {
  /** A single name, unique in the tree. */
  readonly name: string;
  readonly path: string;
  readonly readOnly?: boolean | undefined;
}

/** A read-only folder that exists only for the guest, with files and folders of the host in it. */
export interface ShareTreeConfig {
  readonly entries: readonly ShareEntryConfig[];
  /** 1 to 36 bytes, unique. */
  readonly tag: string;
}

export type ResolvedShare = (ShareConfig & { readonly readOnly: boolean }) | ShareTreeConfig;

const SHARE_FIELDS: Readonly<Record<keyof ShareConfig, Kind>> = {
  path: TEXT,
  tag: TEXT,
  readOnly: BOOLEAN,
};

const TREE_FIELDS: Readonly<Record<keyof ShareTreeConfig, Kind>> = { entries: LIST, tag: TEXT };
const ENTRY_FIELDS: Readonly<Record<keyof ShareEntryConfig, Kind>> = {
  name: TEXT,
  path: TEXT,
  readOnly: BOOLEAN,
};

function resolveShare(share: ShareConfig | ShareTreeConfig): ResolvedShare {
  if (typeof share === 'object' && share !== null && 'entries' in share) return resolveTree(share);
  checkFields('the share', share, SHARE_FIELDS);
  const { path, tag } = share;
  if (!path) invalid('a share has no "path": name the folder');
  checkTag(tag, path);
  return { path, tag, readOnly: share.readOnly ?? false };
}

function resolveTree(tree: ShareTreeConfig): ResolvedShare {
  checkFields('the share', tree, TREE_FIELDS);
  const names = new Set<string>();
  for (const entry of tree.entries) {
    checkFields('the share', entry, ENTRY_FIELDS);
    const { name, path } = entry;
    if (!path) invalid('an entry of a share has no "path": name the file or folder');
    if (!name || name === '.' || name === '..' || /[/\0]/.test(name) || names.has(name)) {
      invalid(`the share of ${path}: give a single name that no other entry has`);
    }
    names.add(name);
  }
  checkTag(tree.tag, 'of several files');
  return tree;
}

function checkTag(tag: string, what: string): void {
  const tagBytes = Buffer.byteLength(tag ?? '');
  if (tagBytes >= 1 && tagBytes <= FS_TAG_BYTES_MAX && !tag.includes('\0')) return;
  invalid(`the share ${what}: give a tag of 1 to ${FS_TAG_BYTES_MAX} bytes`);
}

/**
 * Fills in the defaults and checks all of it.
 * @throws TsvmError `invalid-config`
 */
export function resolveShares(
  shares: readonly (ShareConfig | ShareTreeConfig)[],
): readonly ResolvedShare[] {
  const tags = new Set<string>();
  return shares.map((share) => {
    const resolved = resolveShare(share);
    if (tags.has(resolved.tag)) invalid(`two shares have the tag ${resolved.tag}`);
    tags.add(resolved.tag);
    return resolved;
  });
}
