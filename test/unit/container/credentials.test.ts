/** Where logins are kept; test/container/registry.test.ts has what is in the file. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CredentialStore } from '../../../vmm/container/registry/credentials.ts';
import { runTsvm, TSVM, temporaryFolder } from '../../support/tsvm-process.ts';

const LOGIN = { username: 'u', password: 'p', identityToken: undefined };

test('an empty DOCKER_CONFIG is none, and an empty file has no logins', (t) => {
  const HOME = temporaryFolder(t);
  const store = new CredentialStore({ HOME, DOCKER_CONFIG: '' });
  assert.equal(store.path, join(HOME, '.docker/config.json'));
  mkdirSync(join(HOME, '.docker'));
  writeFileSync(join(HOME, '.docker/config.json'), '\n');
  assert.equal(store.get('example.org'), undefined);
  assert.equal(store.set('example.org', LOGIN), true);
  assert.match(readFileSync(join(HOME, '.docker/config.json'), 'utf8'), /"example\.org"/);
});

test('a folder that cannot be made', (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'file');
  writeFileSync(file, '');
  const store = new CredentialStore({ DOCKER_CONFIG: join(file, 'docker') });
  assert.throws(() => store.set('example.org', LOGIN), {
    code: 'file-unreadable',
    message: /config\.json cannot be read: ENOTDIR/,
  });
  const missing = new CredentialStore({ DOCKER_CONFIG: '/sys/docker' });
  assert.throws(() => missing.set('example.org', LOGIN), {
    code: 'file-unreadable',
    message: /cannot be saved in \/sys\/docker\/config\.json .*: set DOCKER_CONFIG/,
  });
});

test('a user without a home folder has no logins', async () => {
  const user = ['setpriv', '--reuid', '54321', '--regid', '54321', '--clear-groups'];
  const through = [...user, 'env', '-i', `PATH=${process.env['PATH']}`];
  const { code, stdout, stderr } = await runTsvm(['logout', 'example.org'], { through });
  assert.deepEqual([code, stdout, stderr], [0, 'Not logged in to example.org\n', ''], TSVM);
});
