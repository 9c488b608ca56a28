import { deepEqual, equal, notEqual, ok, rejects } from 'node:assert/strict';
import { mkdirSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  layerDisk,
  type MachineParts,
  machineOf,
  type TemplateShape,
  templatedShape,
  templateOf,
} from '../../../../vmm/container/warm-start/machine-shape.ts';
import {
  MachineTemplates,
  TEMPLATES_MAX,
} from '../../../../vmm/container/warm-start/machine-templates.ts';
import { temporaryFolder } from '../../../support/tsvm-process.ts';

function setUp(t: TestContext) {
  const root = temporaryFolder(t);
  const folder = join(root, 'templates');
  const kernelPath = join(root, 'kernel');
  const agentPath = join(root, 'agent');
  for (const path of [kernelPath, agentPath]) writeFileSync(path, 'x');
  const guest = { kernelPath, agentPath };
  const shape: TemplateShape = { guest, cpus: 2, memoryBytes: 2 ** 28, nets: 1 };
  return { folder, shape, kernelPath, templates: new MachineTemplates(folder) };
}

async function save(folder: string): Promise<void> {
  writeFileSync(join(folder, 'memory'), 'memory');
  writeFileSync(join(folder, 'state'), 'state');
}

const templatesIn = (folder: string) => readdirSync(folder).filter((name) => name !== 'lock');

test('a template is found by everything that it depends on, and by nobody else', async (t) => {
  const { folder, kernelPath, shape, templates } = setUp(t);
  equal(templates.find(shape), undefined);
  equal(templates.wants(shape), true);
  await templates.make(shape, save);
  const path = templates.find(shape) ?? '';
  deepEqual(readdirSync(path), ['memory', 'state']);
  equal(statSync(path).mode & 0o777, 0o700);
  equal(statSync(folder).mode & 0o777, 0o700);
  equal(templates.wants(shape), false);
  for (const other of [{ cpus: 1 }, { memoryBytes: 2 ** 29 }, { nets: 0 }]) {
    equal(templates.find({ ...shape, ...other }), undefined);
  }
  const imagePath = join(folder, '../image');
  const emptyLayer = { imagePath, fileSystemPath: kernelPath };
  writeFileSync(imagePath, 'x');
  equal(templates.find({ ...shape, emptyLayer }), undefined);
  await templates.make({ ...shape, emptyLayer }, save);
  notEqual(templates.find({ ...shape, emptyLayer }), templates.find(shape));
  writeFileSync(imagePath, 'another');
  equal(templates.find({ ...shape, emptyLayer }), undefined);
  equal(templates.find(shape), path);
  writeFileSync(kernelPath, 'another');
  equal(templates.find(shape), undefined);
  equal(templates.wants({ ...shape, memoryBytes: 2 ** 40 }), false);
});

test('a template never has the name of an earlier one: whoever reads it late finds it gone', async (t) => {
  const { shape, templates } = setUp(t);
  await templates.make(shape, save);
  const first = templates.find(shape) ?? '';
  templates.removeAll();
  await templates.make(shape, save);
  notEqual(templates.find(shape), undefined);
  notEqual(templates.find(shape), first);
});

test('one is made at a time; what a killed maker has left is removed', async (t) => {
  const { folder, shape, templates } = setUp(t);
  mkdirSync(join(folder, '.tsvm-1-1-00000000.partial'), { recursive: true, mode: 0o700 });
  let others = 0;
  await templates.make(shape, async (draft) => {
    equal(templates.find(shape), undefined, 'it is not there before it is complete');
    await new MachineTemplates(folder).make(shape, async () => {
      others += 1;
    });
    equal(templates.removeAll(), 0);
    await save(draft);
  });
  equal(others, 0);
  deepEqual(templatesIn(folder), [templates.find(shape)?.slice(folder.length + 1)]);
  await templates.make(shape, () => Promise.reject(new Error('it is made twice')));
});

test('one that cannot be made, or that nobody can go on from, is not tried again at once', async (t) => {
  const { folder, shape, templates } = setUp(t);
  await rejects(
    templates.make(shape, () => Promise.reject(new Error('no passt'))),
    /no passt/,
  );
  equal(templates.wants(shape), false);
  const [failed = ''] = templatesIn(folder);
  const before = new Date(Date.now() - 2 * 3_600_000);
  utimesSync(join(folder, failed), before, before);
  equal(templates.wants(shape), true);
  await templates.make(shape, save);
  const path = templates.find(shape) ?? '';
  deepEqual(templatesIn(folder), [path.slice(folder.length + 1)]);
  templates.discard(path, 'damaged');
  equal(templates.find(shape), undefined);
  equal(templates.wants(shape), false);
});

test('those that were not used for longest are removed; prune removes all', async (t) => {
  const { folder, shape, templates } = setUp(t);
  const shapes = Array.from({ length: TEMPLATES_MAX + 1 }, (_, nets) => ({ ...shape, nets }));
  for (const [index, each] of shapes.entries()) {
    await templates.make(each, save);
    const path = templates.find(each) ?? '';
    const time = new Date(Date.now() - (100 - index) * 1000);
    utimesSync(path, time, time);
    // The first is used again.
    if (index > 0 && shapes[0]) notEqual(templates.find(shapes[0]), undefined);
  }
  deepEqual(
    shapes.map((each) => templates.find(each) !== undefined),
    [true, false, ...new Array<boolean>(TEMPLATES_MAX - 1).fill(true)],
  );
  const { count, bytes } = templates.usage();
  equal(count, TEMPLATES_MAX);
  ok(bytes > 0);
  equal(templates.removeAll(), bytes);
  deepEqual(templatesIn(folder), []);
});

test('a variable turns warm starts off', (t) => {
  const { folder } = setUp(t);
  const env = { XDG_CACHE_HOME: folder };
  notEqual(MachineTemplates.ofUser(env), undefined);
  equal(MachineTemplates.ofUser({ ...env, TSVM_WARM_START: 'off' }), undefined);
});

test('shared folders and tap devices come to the machine of a template, while it has room', (t) => {
  const { shape } = setUp(t);
  const user = { kind: 'user', mac: '02:00:00:00:00:09' } as const;
  const tap = { kind: 'tap', name: 'tap0' } as const;
  const share = { tag: 'a', path: '/' };
  const of = (parts: MachineParts) => templatedShape(shape, parts)?.nets;
  equal(of({ nets: [user] }), 1);
  equal(of({}), 0);
  equal(of({ nets: [user], shares: [share] }), 1);
  equal(of({ nets: [tap] }), 0);
  equal(of({ nets: [user, tap, tap, tap, tap], shares: [share] }), 1);
  equal(of({ nets: [user, tap, tap, tap, tap, tap], shares: [share] }), undefined);
  equal(of({ nets: [{ ...user, mtu: 1400 }] }), undefined);
});

test('a template’s machine differs from a container’s in disks, addresses and the clock alone', (t) => {
  const { shape } = setUp(t);
  const template = templateOf(shape, '/placeholder');
  const { appendCmdline, disks, nets, ...rest } = machineOf(shape, {});
  const { appendCmdline: line, disks: _disks, nets: templateNets, ...others } = template;
  deepEqual(others, rest);
  equal(line, `${appendCmdline} clocksource=kvm-clock`);
  deepEqual([disks, nets, templateNets?.length], [undefined, undefined, 1]);
  const [, layer] = templateOf(shape, '/placeholder', '/layer').disks ?? [];
  deepEqual(layer, layerDisk('/layer'));
});
