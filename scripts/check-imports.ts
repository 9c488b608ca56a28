/**
 * Checks which files import which: directions, circles, dynamic imports, C includes. The rules are in
 * `import-rules.ts`.
 */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../vmm/util/package-root.ts';
import { findViolations } from './find-violations.ts';

const PATTERNS = [
  '{vmm,guest-images,scripts,test,examples}/**/*.ts',
  'kvm-addon/{index,types/*}.d.ts',
  'kvm-addon/{include,src,test}/**/*.{c,cc,h}',
  'guest-images/**/*.{c,h}',
  'test/vectors/*.h',
];

/** The checker's own test quotes imports. */
const EXCLUDED = ['**/node_modules/**', 'test/unit/scripts/check-imports.test.ts'];

const root = packageRoot();
const sources = new Map<string, string>();
for (const path of globSync(PATTERNS, { cwd: root, exclude: EXCLUDED })) {
  sources.set(path, readFileSync(join(root, path), 'utf8'));
}
const violations = findViolations(sources);
for (const violation of violations) process.stderr.write(`imports: ${violation}\n`);
if (violations.length > 0) process.exitCode = 1;
