import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../util/package-root.ts';

/** Version text for bug reports: tsvm's version and the platform it runs on. */
export function versionText(): string {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as {
    readonly version: string;
  };
  return `tsvm ${version} (Node.js ${process.versions.node}, Linux ${release()}, ${process.arch})`;
}
