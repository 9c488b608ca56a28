import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDigest } from '../../../vmm/container/digest.ts';
import { parseImageConfig } from '../../../vmm/container/image-config.ts';
import { parseManifest } from '../../../vmm/container/manifest.ts';

const DIGEST = `sha256:${'a'.repeat(64)}`;
const CONFIG = { mediaType: 'application/vnd.oci.image.config.v1+json', digest: DIGEST, size: 5 };
const LAYER = { mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: DIGEST, size: 5 };

function manifest(changes: object): () => unknown {
  const json = { schemaVersion: 2, config: CONFIG, layers: [LAYER], ...changes };
  return () => parseManifest(Buffer.from(JSON.stringify(json)));
}

test('digests with path parts, of unknown algorithms or of wrong lengths are no digests', () => {
  const hostile = [
    'sha256:../../../../etc/passwd',
    `sha256:${'a'.repeat(63)}/`,
    `sha256:${'A'.repeat(64)}`,
    `sha256:${'a'.repeat(65)}`,
    `../sha256:${'a'.repeat(64)}`,
    `md5:${'a'.repeat(32)}`,
    'sha256:',
    `constructor:${'a'.repeat(64)}`,
    `sha256:${'a'.repeat(63)}\n`,
    `sha256:${'a'.repeat(64)}\n`,
    '',
    5,
    null,
  ];
  for (const text of hostile) assert.equal(parseDigest(text), undefined, String(text));
  for (const digest of hostile) {
    assert.throws(manifest({ layers: [{ ...LAYER, digest }] }), { message: /no valid digest/ });
    assert.throws(manifest({ config: { ...CONFIG, digest } }), { message: /no valid digest/ });
  }
});

test('unknown media types are refused', () => {
  const layer = (mediaType: string) => manifest({ layers: [{ ...LAYER, mediaType }] });
  for (const type of [
    '',
    'text/plain',
    `${LAYER.mediaType}+encrypted`,
    `${LAYER.mediaType}+gzip+zstd`,
  ]) {
    assert.throws(layer(type), { code: 'invalid-image', message: /unknown media type/ });
  }
  const helm = 'application/vnd.cncf.helm.config.v1+json';
  assert.throws(manifest({ config: { ...CONFIG, mediaType: helm } }), {
    message: /not a container image/,
  });
  assert.throws(manifest({ mediaType: 'application/x' }), { message: /unknown media type/ });
});

test('sizes that are no sizes are refused', () => {
  for (const size of [-1, 1.5, 2 ** 53, '5', null, Number.NaN]) {
    assert.throws(manifest({ layers: [{ ...LAYER, size }] }), { message: /no valid size/ });
  }
});

test('a manifest that is an index as well is refused, and the reverse', () => {
  assert.throws(
    manifest({ mediaType: 'application/vnd.oci.image.manifest.v1+json', manifests: [] }),
    {
      message: /also claims to be an index/,
    },
  );
  const index = { mediaType: 'application/vnd.oci.image.index.v1+json', manifests: [] };
  assert.throws(manifest(index), { message: /also claims to be a manifest/ });
});

test('manifests of schema 1, and documents that are not manifests, are refused', () => {
  assert.throws(manifest({ schemaVersion: 1 }), { message: /schema version 1/ });
  for (const text of ['', 'null', '[]', '5', '{', '{}', '[['.repeat(100_000), '"\ud800"', '\xff']) {
    assert.throws(
      () => parseManifest(Buffer.from(text, 'latin1')),
      { code: 'invalid-image' },
      text,
    );
  }
});

test('manifests, indexes and configurations are bounded', () => {
  assert.throws(() => parseManifest(Buffer.alloc(4 * 2 ** 20 + 1, ' ')), { message: /more than/ });
  assert.throws(manifest({ layers: Array(513).fill(LAYER) }), { message: /more than 512/ });
  const mediaType = 'application/vnd.oci.image.index.v1+json';
  const many = { schemaVersion: 2, mediaType, manifests: Array(2049).fill(LAYER) };
  assert.throws(() => parseManifest(Buffer.from(JSON.stringify(many))), {
    message: /more than 2048/,
  });
  assert.throws(() => parseImageConfig(Buffer.alloc(8 * 2 ** 20 + 1, ' ')), {
    message: /more than/,
  });
});

test('configurations without layers, or with digests that are none, are refused', () => {
  const config = (json: unknown) => () => parseImageConfig(Buffer.from(JSON.stringify(json)));
  for (const json of [
    null,
    [],
    5,
    {},
    { rootfs: [] },
    { rootfs: {} },
    { rootfs: { diff_ids: {} } },
  ]) {
    assert.throws(config(json), { code: 'invalid-image' });
  }
  assert.throws(config({ rootfs: { diff_ids: ['sha256:../x'] } }), { message: /no valid digest/ });
  const strange = {
    rootfs: { diff_ids: [] },
    history: [null, 5, { created: {} }],
    config: 'x',
    created: 9,
  };
  assert.deepEqual(config(strange)().history.length, 3);
});
