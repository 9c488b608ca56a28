/**
 * Bundles the CLI: Node then opens and compiles one module instead of a hundred.
 *
 * CommonJS, because it starts some milliseconds sooner than the module loader, and because what is
 * imported on demand is then evaluated on demand. `tsvm.cjs` only turns on Node's compile cache,
 * which has to happen before the module that it is to serve is loaded.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { packageRoot } from '../vmm/util/package-root.ts';

const root = packageRoot();
await build({
  entryPoints: [join(root, 'vmm/cli/main.ts')],
  outfile: join(root, 'dist/cli.cjs'),
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node24',
  define: { 'import.meta.dirname': '__dirname' },
  minifySyntax: true,
  legalComments: 'none',
});
writeFileSync(
  join(root, 'dist/tsvm.cjs'),
  `const { XDG_CACHE_HOME, HOME } = process.env;
require('node:module').enableCompileCache(\`\${XDG_CACHE_HOME || HOME + '/.cache'}/tsvm/compile\`);
require('./cli.cjs');
`,
);
