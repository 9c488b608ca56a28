/** The seed of cloud-init's data source NoCloud: "NoCloud" in its documentation. */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { TsvmError } from '../../errors.ts';
import { fsPath } from '../../util/byte-names.ts';
import type { CloudInitConfig } from './cloud-init-config.ts';
import { FAT_CONTENT_BYTES_MAX, writeFat } from './fat-writer.ts';
import { checkYaml, isCloudConfig } from './yaml-check.ts';

/** NoCloud looks for a file system with this label. */
const LABEL = 'CIDATA';
const EMPTY_CLOUD_CONFIG = '#cloud-config\n{}\n';
/** User data of clouds is limited to 16 KiB; this leaves room for scripts with files in them. */
const FILE_BYTES_MAX = 16 * 2 ** 20;
/** How files begin that cloud-init knows: "User-Data Formats", and gzip. */
const HEADERS =
  /^(#cloud-config|#!|#include|#cloud-boothook|#part-handler|## template:|Content-Type:|MIME-Version:|From )/i;
const GZIP = '\x1f\x8b';

/**
 * The content of the seed disk.
 * @throws TsvmError `file-unreadable` or `invalid-config` for the files that the user names
 */
export function seedDisk(config: CloudInitConfig): Uint8Array {
  const files = seedFiles(config);
  const total = [...files.values()].reduce((sum, { length }) => sum + length, 0);
  if (total > FAT_CONTENT_BYTES_MAX) throw new RangeError(`a seed of ${total} bytes`);
  return writeFat(LABEL, digest(files).readUInt32LE(), files);
}

/** The files of the seed by their names. */
export function seedFiles(config: CloudInitConfig): Map<string, Uint8Array> {
  const { userDataPath, metaDataPath, networkConfigPath, password } = config;
  const files = new Map<string, Uint8Array>();
  files.set(
    'user-data',
    userDataPath === undefined ? Buffer.from(EMPTY_CLOUD_CONFIG) : readUserData(userDataPath),
  );
  if (networkConfigPath !== undefined) files.set('network-config', readYaml(networkConfigPath));
  // Vendor data has the same form, and user data overrides it.
  if (password !== undefined) files.set('vendor-data', passwordConfig(password));
  files.set(
    'meta-data',
    metaDataPath === undefined ? metaData(config, files) : readYaml(metaDataPath),
  );
  return files;
}

function passwordConfig(password: string): Uint8Array {
  const settings = { password, chpasswd: { expire: false }, ssh_pwauth: true };
  return Buffer.from(`#cloud-config\n${JSON.stringify(settings)}\n`);
}

/** YAML, of which JSON is a part. */
function metaData(
  { hostname, sshKeyPaths = [] }: CloudInitConfig,
  others: ReadonlyMap<string, Uint8Array>,
): Uint8Array {
  const settings = {
    ...(hostname !== undefined && { 'local-hostname': hostname }),
    ...(sshKeyPaths.length > 0 && { 'public-keys': sshKeyPaths.flatMap(readPublicKeys) }),
  };
  // cloud-init applies changed settings only to what it takes for a new instance.
  const parts = new Map([...others, ['settings', Buffer.from(JSON.stringify(settings))]]);
  const instance = digest(parts).toString('hex', 0, 8);
  return Buffer.from(`${JSON.stringify({ 'instance-id': `tsvm-${instance}`, ...settings })}\n`);
}

function digest(files: ReadonlyMap<string, Uint8Array>): Buffer {
  const hash = createHash('sha256');
  for (const [name, content] of files) hash.update(`${name}\0${content.length}\0`).update(content);
  return hash.digest();
}

const BYTE_ORDER_MARK = '\xef\xbb\xbf';

function readUserData(path: string): Uint8Array {
  const content = readInput(path);
  const start = content.toString('latin1', 0, 64);
  if (isCloudConfig(content)) checkYaml(path, content);
  if (HEADERS.test(start) || start.startsWith(GZIP)) return content;
  if (start.startsWith(BYTE_ORDER_MARK)) {
    throw new TsvmError(
      'invalid-config',
      `cloud-init would ignore ${path}: save it without a byte order mark (UTF-8, no BOM)`,
    );
  }
  throw new TsvmError(
    'invalid-config',
    `cloud-init would ignore ${path}: its first line must be "#cloud-config", or "#!" and a program`,
  );
}

function readYaml(path: string): Uint8Array {
  const content = readInput(path);
  checkYaml(path, content);
  return content;
}

/** A line of authorized_keys (sshd(8)): options, a type and base64, which begins with a length. */
const PUBLIC_KEY = /(?:^|\s)[a-z][\w@.-]*\s+AAAA[A-Za-z0-9+/]*=*(?:\s|$)/;

function readPublicKeys(path: string): string[] {
  const text = readInput(path).toString('utf8');
  if (text.includes('PRIVATE KEY-----')) {
    throw new TsvmError(
      'invalid-config',
      `${path} is a private key: give the public one, ${path}.pub`,
    );
  }
  const lines = text.split('\n').map((line) => line.trim());
  const keys = lines.filter((line) => line !== '' && !line.startsWith('#'));
  if (keys.length === 0) throw new TsvmError('invalid-config', `${path} has no SSH key`);
  // The guest would ignore it, and nobody could log in.
  const bad = lines.findIndex((line) => keys.includes(line) && !PUBLIC_KEY.test(line));
  if (bad === -1) return keys;
  throw new TsvmError(
    'invalid-config',
    `${path}: line ${bad + 1} is no public SSH key, such as "ssh-ed25519 AAAA... user@host"`,
  );
}

function readInput(path: string): Buffer {
  try {
    const stats = statSync(fsPath(path));
    if (!stats.isFile()) throw new Error('it is not a regular file');
    if (stats.size > FILE_BYTES_MAX) throw new Error(`it is larger than ${FILE_BYTES_MAX} bytes`);
    return readFileSync(fsPath(path));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new TsvmError('file-unreadable', `cannot read ${path}: ${reason}`, { cause });
  }
}
