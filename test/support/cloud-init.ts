/**
 * cloud-init itself, unpacked and not installed: an installed one would configure this host when it
 * starts.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../vmm/util/package-root.ts';
import { unpackDebianPackage } from './debian-packages.ts';

/** With the modules that it imports. */
const PACKAGES = [
  ...['cloud-init', 'python3-attr', 'python3-certifi', 'python3-chardet', 'python3-configobj'],
  ...['python3-charset-normalizer', 'python3-idna', 'python3-jinja2', 'python3-json-pointer'],
  ...['python3-jsonpatch', 'python3-jsonschema', 'python3-markupsafe', 'python3-netifaces'],
  ...['python3-pyrsistent', 'python3-requests', 'python3-serial', 'python3-urllib3'],
  ...['python3-yaml', 'python3-oauthlib', 'python3-six', 'python3-blinker', 'python3-jwt'],
];

const FOLDER = join(packageRoot(), 'build/cloud-init');
const UNPACKED = join(FOLDER, 'unpacked');
/** Debian's Python, which these packages are for. */
const PYTHON = '/usr/bin/python3';

export interface PythonResult {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly output: string;
}

/** Runs Debian's Python where cloud-init can be imported. */
export function runWithCloudInit(args: readonly string[]): PythonResult {
  if (!existsSync(UNPACKED)) {
    for (const name of PACKAGES) unpackDebianPackage(name, FOLDER);
    writeFileSync(UNPACKED, '');
  }
  const env = { ...process.env, PYTHONPATH: join(FOLDER, 'usr/lib/python3/dist-packages') };
  const { status, stdout, stderr, error } = spawnSync(PYTHON, args, { encoding: 'utf8', env });
  if (error !== undefined) throw error;
  return { code: status, output: stdout + stderr };
}

/** `cloud-init schema`: what is wrong with a file, empty when nothing is. */
export function checkCloudConfig(path: string): string {
  const program = join(FOLDER, 'usr/bin/cloud-init');
  const { code, output } = runWithCloudInit([program, 'schema', '--config-file', path]);
  return code === 0 ? '' : output;
}
