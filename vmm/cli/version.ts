import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../util/package-root.ts';

/** tsvm's version. */
export function versionNumber(): string {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as {
    readonly version: string;
  };
  return version;
}

/** Version text for bug reports: tsvm's version and the platform it runs on. */
export function versionText(): string {
  return `tsvm ${versionNumber()} (Node.js ${process.versions.node}, Linux ${release()}, ${process.arch})`;
}
