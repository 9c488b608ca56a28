/**
 * Checks that imports run one way. Each folder of `vmm/` names what it may import; type-only
 * imports count too, since a type is a dependency as much as a function is.
 */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { packageRoot } from '../vmm/util/package-root.ts';

const BASE = ['util', 'errors', 'observability'];

/** Folder (longest match wins) → folders that it may import besides itself. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  util: [],
  errors: [],
  observability: ['util', 'errors'],
  host: ['util', 'errors'],
  memory: BASE,
  arch: [...BASE, 'memory'],
  loader: [...BASE, 'host', 'memory'],
  bus: [...BASE, 'memory'],
  backends: [...BASE, 'host', 'memory'],
  devices: [...BASE, 'memory', 'bus'],
  // The typed handles of the addon carry out what buses, devices and backends declare.
  kvm: [...BASE, 'host', 'memory', 'bus', 'devices/virtio', 'backends/disk'],
  machine: [...BASE, 'host', 'memory', 'arch', 'loader', 'bus', 'backends', 'devices', 'kvm'],
  container: [...BASE, 'host', 'machine', 'backends'],
  api: [...BASE, 'host', 'machine', 'container'],
  cli: [...BASE, 'host', 'machine', 'container', 'api', 'kvm', 'backends'],
};

/** Devices do not know each other: these folders may not import their siblings. */
const SEPARATE = ['devices/legacy', 'devices/virtio/block', 'devices/virtio/rng'];

function topFolder(path: string): string {
  return path.split('/')[0]?.replace(/\.ts$/, '') ?? '';
}

function mayImport(from: string, to: string): boolean {
  const own = topFolder(from);
  const other = topFolder(to);
  for (const folder of SEPARATE) {
    const sibling = SEPARATE.some((name) => name !== folder && to.startsWith(`${name}/`));
    if (from.startsWith(`${folder}/`) && sibling) return false;
  }
  if (own === other) return true;
  const allowed = ALLOWED[own];
  if (allowed === undefined) return false;
  return allowed.some((folder) => to === `${folder}.ts` || to.startsWith(`${folder}/`));
}

const root = join(packageRoot(), 'vmm');
const violations: string[] = [];
for (const file of globSync('**/*.ts', { cwd: root })) {
  // The public API re-exports from everywhere.
  if (file === 'index.ts') continue;
  const source = readFileSync(join(root, file), 'utf8');
  for (const [, target = ''] of source.matchAll(/^(?:import|export)\b[^;]*?from '([^']+)'/gms)) {
    if (target.includes('kvm-addon/') && !['host', 'kvm'].includes(topFolder(file))) {
      violations.push(`${file} imports the addon: only vmm/host and vmm/kvm may`);
    }
    if (!target.startsWith('.')) continue;
    const to = relative(root, join(root, dirname(file), target));
    if (!to.startsWith('..') && !mayImport(file, to)) violations.push(`${file} imports ${to}`);
  }
}
for (const violation of violations) process.stderr.write(`imports: ${violation}\n`);
if (violations.length > 0) process.exitCode = 1;
