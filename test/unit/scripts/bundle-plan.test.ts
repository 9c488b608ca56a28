import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ModuleGraph, planBundle } from '../../../scripts/bundle-plan.ts';

/** Modules as `name: static imports | dynamic imports`. */
function graph(text: string): ModuleGraph {
  const lines = text.trim().split('\n');
  return new Map(
    lines.map((line) => {
      const [name = '', imports = ''] = line.split(':');
      const [needed = '', later = ''] = imports.split('|');
      const words = (list: string) => list.trim().split(' ').filter(Boolean);
      return [name.trim(), { static: words(needed), dynamic: words(later) }];
    }),
  );
}

function plan(text: string, divideBy?: readonly string[]) {
  const { core, parts, shared } = planBundle(graph(text), 'main.ts', divideBy);
  return {
    core: [...core].sort(),
    parts: Object.fromEntries(parts),
    ...(shared.size > 0 && { shared: Object.fromEntries(shared) }),
  };
}

test('a dynamic import makes a part, with all that only it needs', () => {
  assert.deepEqual(
    plan(`
      main.ts: errors.ts | disk/qcow2.ts
      disk/qcow2.ts: errors.ts table.ts
      table.ts:
      errors.ts:`),
    { core: ['errors.ts', 'main.ts'], parts: { 'disk/qcow2.ts': 'qcow2' } },
  );
});

test('a module of two parts exists once, in the core, with what it needs', () => {
  assert.deepEqual(
    plan(`
      main.ts: | a.ts b.ts
      a.ts: shared.ts
      b.ts: shared.ts
      shared.ts: below.ts
      below.ts:`),
    { core: ['below.ts', 'main.ts', 'shared.ts'], parts: { 'a.ts': 'a', 'b.ts': 'b' } },
  );
});

test('parts that divide what parts share load only what they need', () => {
  assert.deepEqual(
    plan(
      `
      main.ts: errors.ts | run.ts ps.ts rm.ts start.ts
      run.ts: errors.ts all.ts run-and-start.ts
      ps.ts: all.ts
      rm.ts: all.ts rare.ts
      start.ts: run.ts rare.ts
      all.ts: errors.ts
      run-and-start.ts: all.ts
      rare.ts:
      errors.ts:`,
      ['run', 'ps'],
    ),
    {
      core: ['errors.ts', 'main.ts'],
      parts: { 'ps.ts': 'ps', 'rm.ts': 'rm', 'start.ts': 'start' },
      shared: {
        'run.ts': 'shared-run',
        'run-and-start.ts': 'shared-run',
        'all.ts': 'shared-run-ps',
        'rare.ts': 'shared',
      },
    },
  );
});

test('a part of a part is a part', () => {
  assert.deepEqual(
    plan(`
      main.ts: | a.ts
      a.ts: | b.ts
      b.ts:`),
    { core: ['main.ts'], parts: { 'a.ts': 'a', 'b.ts': 'b' } },
  );
});

test('a module that the start or another part needs anyway is not a part', () => {
  assert.deepEqual(
    plan(`
      main.ts: errors.ts | errors.ts a.ts b.ts
      a.ts: b.ts
      b.ts:
      errors.ts:`),
    { core: ['b.ts', 'errors.ts', 'main.ts'], parts: { 'a.ts': 'a' } },
  );
});

test('circles end', () => {
  assert.deepEqual(
    plan(`
      main.ts: | a.ts
      a.ts: b.ts | a.ts
      b.ts: a.ts`),
    { core: ['main.ts'], parts: { 'a.ts': 'a' } },
  );
});

test('two parts of one name are refused', () => {
  assert.throws(
    () =>
      plan(`
      main.ts: | x/a.ts y/a.ts
      x/a.ts:
      y/a.ts:`),
    /two parts are called a/,
  );
});
