import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findViolations } from '../../../scripts/find-violations.ts';
import { findCircles, parseImports, parseIncludes } from '../../../scripts/import-graph.ts';

/** Checks files that consist of their imports. */
const check = (files: Readonly<Record<string, string>>) =>
  findViolations(new Map(Object.entries(files)));

test('every form of import is found, in comments none', () => {
  const { specifiers, unknown } = parseImports(`
    // import { z } from './comment.ts';
import { a } from './a.ts';
import type {
  B,
} from './b.ts';
import './c.ts';
export { d } from './d.ts';
export * from './e.ts';
/** import('./doc.ts') */
const f = await import('./f.ts');
const g = new Worker(new URL('g.ts', import.meta.url));
const h = import(\`./\${name}\`);
const text = "from './no.ts'";
`);
  assert.deepEqual(
    [...specifiers].sort(),
    ['./a.ts', './b.ts', './c.ts', './d.ts', './e.ts', './f.ts', './g.ts'].sort(),
  );
  assert.equal(unknown, 1);
});

test('circles are found, a chain and a diamond are none', () => {
  const graph = (edges: Record<string, string[]>) => findCircles(new Map(Object.entries(edges)));
  assert.deepEqual(graph({ a: ['b'], b: ['c'], c: [] }), []);
  assert.deepEqual(graph({ a: ['b', 'c'], b: ['d'], c: ['d'], d: [] }), []);
  assert.deepEqual(graph({ a: ['b'], b: ['c'], c: ['b', 'd'], d: [] }), [['b', 'c']]);
});

test('imports go one way, dynamic ones and types too', () => {
  const utility = { 'vmm/util/u.ts': '' };
  assert.deepEqual(check({ ...utility, 'vmm/bus/b.ts': "import { u } from '../util/u.ts';" }), []);
  for (const statement of [
    "import { m } from '../machine/m.ts';",
    "import type { M } from '../machine/m.ts';",
    "const m = await import('../machine/m.ts');",
    "export * from '../machine/m.ts';",
  ]) {
    assert.deepEqual(check({ 'vmm/machine/m.ts': '', 'vmm/util/u.ts': statement }), [
      'vmm/util/u.ts imports vmm/machine/m.ts',
    ]);
  }
});

test('only vmm/host and vmm/kvm import the addon', () => {
  const addon = { 'kvm-addon/index.d.ts': '' };
  const statement = "import type { X } from '../../kvm-addon/index.d.ts';";
  for (const folder of ['host', 'kvm']) {
    assert.deepEqual(check({ ...addon, [`vmm/${folder}/x.ts`]: statement }), []);
  }
  for (const folder of ['machine', 'backends', 'cli']) {
    assert.equal(check({ ...addon, [`vmm/${folder}/x.ts`]: statement }).length, 1, folder);
  }
});

test('files of a disk know no images, images no machine', () => {
  const disk = 'vmm/backends/disk';
  const up = (from: string, to: string) =>
    check({ [`${disk}/${from}/a.ts`]: `import '../${to}/b.ts';`, [`${disk}/${to}/b.ts`]: '' });
  assert.deepEqual(up('machine', 'image'), []);
  assert.deepEqual(up('image', 'file'), []);
  assert.equal(up('image', 'machine').length, 1);
  assert.equal(up('file', 'image').length, 1);
});

test('devices do not know each other; what they share they may import', () => {
  const block = 'vmm/devices/virtio/block/block.ts';
  const importing = (to: string) => check({ [block]: `import '${to}';`, ...target(to) });
  const target = (to: string) => ({
    [`vmm/devices/virtio/block/${to}`.replace(/[^/]+\/\.\.\//g, '')]: '',
  });
  assert.deepEqual(importing('../queue.ts'), []);
  assert.equal(importing('../rng/rng.ts').length, 1);
  assert.equal(importing('../../legacy/rtc.ts').length, 1);
});

test('vmm imports neither tests nor scripts; guest-images only what is small', () => {
  for (const [from, to] of [
    ['vmm/cli/a.ts', '../../test/support/b.ts'],
    ['vmm/cli/a.ts', '../../scripts/b.ts'],
    ['guest-images/a.ts', '../vmm/machine/b.ts'],
  ] as const) {
    const path = to.replace(/^(\.\.\/)+/, '');
    assert.equal(check({ [from]: `import '${to}';`, [path]: '' }).length, 1, `${from} ${to}`);
  }
});

test('circles, unknown targets and missing files of TypeScript are violations', () => {
  const circle = check({
    'vmm/util/a.ts': "import type { B } from './b.ts';",
    'vmm/util/b.ts': "const a = await import('./a.ts');",
  });
  assert.deepEqual(circle, ['these import each other: vmm/util/a.ts, vmm/util/b.ts']);
  assert.match(check({ 'vmm/util/a.ts': 'import(name);' })[0] ?? '', /not a string literal/);
  assert.match(check({ 'vmm/util/a.ts': "import './gone.ts';" })[0] ?? '', /does not exist/);
});

test('C: includes go one way, and modules do not include each other', () => {
  assert.deepEqual(parseIncludes('#include <a.h>\n#  include "b.h"\n'), ['b.h']);
  const src = 'kvm-addon/src';
  assert.deepEqual(
    check({
      [`${src}/virtio/blk.c`]: '#include "../memory/guest_memory.h"\n',
      [`${src}/memory/guest_memory.h`]: '',
    }),
    [],
  );
  assert.deepEqual(
    check({ [`${src}/virtio/blk.c`]: '#include "../kvm/vm.h"\n', [`${src}/kvm/vm.h`]: '' }),
    [`${src}/virtio/blk.c includes ${src}/kvm/vm.h`],
  );
  assert.deepEqual(
    check({
      [`${src}/util/a.c`]: '#include "a.h"\n#include "b.h"\n',
      [`${src}/util/a.h`]: '',
      [`${src}/util/b.c`]: '#include "a.h"\n',
      [`${src}/util/b.h`]: '',
    }),
    [`these include each other: ${src}/util/a, ${src}/util/b`],
  );
});

test('circles of C modules are violations', () => {
  const circle = check({
    'kvm-addon/src/pvm/a.h': '',
    'kvm-addon/src/pvm/a.c': '#include "b.h"',
    'kvm-addon/src/pvm/b.h': '#include "a.h"',
  });
  assert.deepEqual(circle, ['these include each other: kvm-addon/src/pvm/a, kvm-addon/src/pvm/b']);
});
