/**
 * The user's configuration of registries: `registries.json` in `${XDG_CONFIG_HOME:-~/.config}/tsvm`
 * and in `/etc/tsvm`. The first file with an entry for a registry is used.
 *
 * ```json
 * { "docker.io": { "mirrors": ["https://mirror.example"] },
 *   "registry.example:5000": { "ca": "/etc/ssl/example.pem", "insecure": false } }
 * ```
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { TsvmError } from '../../errors.ts';
import { configFolders } from '../../host/folders.ts';
import { isObject, stringAt, stringsAt } from '../json.ts';

export interface RegistryConfig {
  /** URLs of registries that are asked first when something is pulled. */
  readonly mirrors: readonly string[];
  /** A PEM file with the certificates that sign the registry's. */
  readonly ca: string | undefined;
  /** Its certificate is not checked, and plain HTTP will do. */
  readonly insecure: boolean;
}

export const NO_REGISTRY_CONFIG: RegistryConfig = { mirrors: [], ca: undefined, insecure: false };

/** @throws TsvmError `invalid-config` when a file is not JSON */
export function readRegistryConfig(
  domain: string,
  env: NodeJS.ProcessEnv = process.env,
): RegistryConfig {
  for (const folder of configFolders(env)) {
    const path = join(folder, 'registries.json');
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch {
      continue;
    }
    const all = parseFile(path, text);
    const own = isObject(all) ? all[domain] : undefined;
    if (!isObject(own)) continue;
    return {
      mirrors: stringsAt(own, 'mirrors') ?? [],
      ca: stringAt(own, 'ca'),
      insecure: own['insecure'] === true,
    };
  }
  return NO_REGISTRY_CONFIG;
}

function parseFile(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new TsvmError('invalid-config', `${path} is not valid JSON: fix it`, { cause });
  }
}
