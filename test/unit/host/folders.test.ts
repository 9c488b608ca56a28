import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  cacheFolder,
  configFolders,
  dataFolder,
  logFolder,
  runtimeFolder,
  stateFolder,
} from '../../../vmm/host/folders.ts';

/** Calls as another user: the folders ask for the effective user id alone. */
function asUser<T>(uid: number, call: () => T): T {
  const { geteuid } = process;
  process.geteuid = () => uid;
  try {
    return call();
  } finally {
    if (geteuid !== undefined) process.geteuid = geteuid;
  }
}

const all = (env: NodeJS.ProcessEnv) => ({
  cache: cacheFolder(env),
  data: dataFolder(env),
  state: stateFolder(env),
  runtime: runtimeFolder(env),
  log: logFolder(env),
  config: configFolders(env),
});

test('a user has the folders of the XDG Base Directory Specification', () => {
  asUser(1000, () => {
    assert.deepEqual(all({ HOME: '/h' }), {
      cache: '/h/.cache/tsvm',
      data: '/h/.local/share/tsvm',
      state: '/h/.local/state/tsvm',
      runtime: undefined,
      log: '/h/.local/state/tsvm',
      config: ['/h/.config/tsvm', '/etc/tsvm'],
    });
    const env = {
      HOME: '/h',
      XDG_CACHE_HOME: '/c',
      XDG_DATA_HOME: '/d',
      XDG_STATE_HOME: '/s',
      XDG_RUNTIME_DIR: '/run/user/1000',
      XDG_CONFIG_HOME: '/o',
    };
    assert.deepEqual(all(env), {
      cache: '/c/tsvm',
      data: '/d/tsvm',
      state: '/s/tsvm',
      runtime: '/run/user/1000/tsvm',
      log: '/s/tsvm',
      config: ['/o/tsvm', '/etc/tsvm'],
    });
  });
});

test('root has the folders of the FHS, whoever it logged in as', () => {
  asUser(0, () => {
    const env = { HOME: '/root', XDG_DATA_HOME: '/d', XDG_RUNTIME_DIR: '/run/user/0' };
    assert.deepEqual(all(env), {
      cache: '/var/cache/tsvm',
      data: '/var/lib/tsvm',
      state: '/var/lib/tsvm',
      runtime: '/run/tsvm',
      log: '/var/log/tsvm',
      config: ['/root/.config/tsvm', '/etc/tsvm'],
    });
    assert.equal(cacheFolder({ ...env, XDG_CACHE_HOME: '/elsewhere' }), '/elsewhere/tsvm');
  });
});

test('relative paths are ignored, as if the variable were not set', () => {
  asUser(1000, () => {
    const env = { HOME: '/h', XDG_CACHE_HOME: 'c', XDG_DATA_HOME: '', TSVM_DATA_FOLDER: 'd' };
    assert.equal(cacheFolder(env), '/h/.cache/tsvm');
    assert.equal(dataFolder(env), '/h/.local/share/tsvm');
    // Not the current folder, but the user database's entry.
    for (const HOME of ['', '.', 'h']) assert.match(cacheFolder({ HOME }) ?? '/', /^\//);
  });
});

test('variables of tsvm name folders for every user', () => {
  for (const uid of [0, 1000]) {
    asUser(uid, () => {
      assert.equal(dataFolder({ TSVM_DATA_FOLDER: '/own' }), '/own');
      assert.equal(runtimeFolder({ TSVM_RUNTIME_FOLDER: '/own' }), '/own');
      assert.equal(logFolder({ TSVM_LOG_FOLDER: '/own' }), '/own');
    });
  }
});
