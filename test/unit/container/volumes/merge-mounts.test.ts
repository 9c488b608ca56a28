import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MountSpec } from '../../../../vmm/container/volumes/mount-spec.ts';
import {
  type MountOptions,
  mergeMounts,
  parseMountFlags,
} from '../../../../vmm/container/volumes/resolve-mounts.ts';
import { TsvmError } from '../../../../vmm/errors.ts';

const NOTHING: MountOptions = {
  volumes: [],
  mounts: [],
  tmpfs: [],
  volumesFrom: [],
};

function merged(
  { imageVolumes = [], ...options }: Partial<MountOptions> & { imageVolumes?: readonly string[] },
  others: Readonly<Record<string, readonly MountSpec[]>> = {},
): MountSpec[] {
  const flags = parseMountFlags({ ...NOTHING, ...options }, '/');
  return [...mergeMounts(flags, imageVolumes, (name) => others[name] ?? []).specs];
}

const shown = (specs: readonly MountSpec[]) =>
  specs.map((spec) => {
    const source = spec.type === 'bind' ? spec.source : spec.type === 'volume' ? spec.name : '';
    const isName = !/^[0-9a-f]{64}$/.test(source);
    return `${spec.type} ${isName ? source : 'anonymous'} ${spec.destination}${spec.readOnly ? ' ro' : ''}`;
  });

test('a volume of the image gives way to whatever else is mounted there', () => {
  assert.deepEqual(
    shown(
      merged({
        imageVolumes: ['/data', '/cache', 'log/'],
        volumes: ['/srv:/data'],
        tmpfs: ['/cache/'],
      }),
    ),
    ['bind /srv /data', 'tmpfs  /cache', 'volume anonymous /log'],
  );
});

test('two mounts at one place are refused', () => {
  for (const options of [
    { volumes: ['/a:/b', '/c:/b/'] },
    { volumes: ['/a:/b'], mounts: ['type=tmpfs,dst=/b'] },
    { volumes: ['/a:/b'], tmpfs: ['/b'] },
  ]) {
    assert.throws(
      () => merged(options),
      (error) => error instanceof TsvmError && error.message === 'Duplicate mount point: /b',
    );
  }
});

test('--volumes-from takes folders and volumes, read-only if asked, and -v goes before', () => {
  const others = {
    one: merged({ volumes: ['data:/data', '/srv:/srv:ro', '/etc:/etc'], tmpfs: ['/t'] }),
  };
  assert.deepEqual(shown(merged({ volumesFrom: ['one'] }, others)), [
    'volume data /data',
    'bind /srv /srv ro',
    'bind /etc /etc',
  ]);
  const taken = merged({ volumesFrom: ['one:ro'], volumes: ['other:/data'] }, others);
  assert.deepEqual(shown(taken), ['volume other /data', 'bind /srv /srv ro', 'bind /etc /etc ro']);
  assert.throws(
    () => merged({ volumesFrom: ['one:xx'] }, others),
    /invalid mode for volumes-from: xx/,
  );
});

test('--mount takes only a source that exists', () => {
  assert.throws(
    () => merged({ mounts: ['type=bind,src=/nowhere/at/all,dst=/b'] }),
    /^TsvmError: invalid mount config for type "bind": bind source path does not exist: \/nowhere\/at\/all$/,
  );
});
