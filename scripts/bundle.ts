/** Bundles the CLI into one file: Node then opens and parses one module instead of a hundred. */
import { join } from 'node:path';
import { build } from 'esbuild';
import { packageRoot } from '../vmm/util/package-root.ts';

const root = packageRoot();
await build({
  entryPoints: [join(root, 'vmm/cli/main.ts')],
  outfile: join(root, 'dist/tsvm.mjs'),
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node24',
  minifySyntax: true,
  legalComments: 'none',
  // commander is CommonJS: what it requires must be found in a module too.
  banner: {
    js: "import { createRequire as tsvmCreateRequire } from 'node:module'; const require = tsvmCreateRequire(import.meta.url);",
  },
});
