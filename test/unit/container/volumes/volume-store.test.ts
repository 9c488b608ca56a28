import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { VolumeStore } from '../../../../vmm/container/volumes/volume-store.ts';
import { TsvmError } from '../../../../vmm/errors.ts';
import { temporaryFolder } from '../../../support/tsvm-process.ts';

const PLAIN = { anonymous: false, labels: {}, options: {} };

function newStore(t: TestContext): VolumeStore {
  return new VolumeStore(join(temporaryFolder(t), 'volumes'));
}

function refusal(code: string, message: RegExp) {
  return (error: unknown) =>
    error instanceof TsvmError && error.code === code && message.test(error.message);
}

test('a volume is made once, listed by name, and removed with its content', (t) => {
  const store = newStore(t);
  assert.deepEqual(store.list(), []);
  const made = store.create({ ...PLAIN, name: 'data', labels: { a: 'b' } });
  store.create({ ...PLAIN, name: 'cache' });
  const path = store.dataPath(made);
  assert.equal(statSync(path).mode & 0o777, 0o755);
  assert.deepEqual(readdirSync(path), [], 'a new volume is empty');
  writeFileSync(join(path, 'file'), 'kept');
  assert.deepEqual(store.create({ ...PLAIN, name: 'data' }), made, 'the existing one');
  assert.deepEqual(
    store.list().map(({ name }) => name),
    ['cache', 'data'],
  );
  store.remove('data');
  assert.ok(!existsSync(path));
  assert.throws(
    () => store.remove('data'),
    refusal('volume-not-found', /^get data: no such volume$/),
  );
});

test('what a killed process left is removed by the next one', (t) => {
  const store = newStore(t);
  const ended = 2 ** 22 + 1; // Above the kernel's largest PID.
  for (const name of [`.new-${ended}-1`, `.gone-${ended}-1`, '.other']) {
    mkdirSync(join(store.folder, name, '_data'), { recursive: true });
  }
  store.create({ ...PLAIN, name: 'data' });
  assert.deepEqual(readdirSync(store.folder).sort(), ['.other', 'data']);
  assert.deepEqual(
    store.list().map(({ name }) => name),
    ['data'],
  );
});

test('names with path parts are none', (t) => {
  const store = newStore(t);
  for (const name of ['..', '.', '.new', 'a/b', '../x', 'a\nb', '-a', '']) {
    assert.equal(store.read(name), undefined);
    assert.throws(() => store.create({ ...PLAIN, name }), TsvmError);
    assert.throws(() => store.remove(name), refusal('volume-not-found', /no such volume/));
  }
  assert.throws(
    () => store.create({ ...PLAIN, name: 'a' }),
    refusal('invalid-container', /should be at least two alphanumeric characters/),
  );
});

test('a damaged record is said to be damaged', (t) => {
  const store = newStore(t);
  store.create({ ...PLAIN, name: 'data' });
  writeFileSync(join(store.folder, 'data/volume.json'), '{');
  assert.throws(() => store.list(), refusal('store-failed', /volume\.json is damaged/));
});

test('of the options of the local driver, a bind is supported', (t) => {
  const store = newStore(t);
  const options = { type: 'none', o: 'bind', device: '/srv/data' };
  const made = store.create({ ...PLAIN, name: 'bound', options });
  assert.equal(store.dataPath(made), '/srv/data');
  for (const other of [{ type: 'nfs', o: 'addr=1.2.3.4', device: ':/x' }, { foo: 'bar' }]) {
    assert.throws(
      () => store.create({ ...PLAIN, name: 'other', options: other as Record<string, string> }),
      refusal('invalid-container', /^create other: /),
    );
  }
});
