import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  familiarText,
  parseReference,
  referenceText,
  withDefaultTag,
} from '../../../vmm/container/reference.ts';

const HEX = 'a'.repeat(64);

test('references are filled in and shown short as Docker does', () => {
  const cases: [string, string, string][] = [
    ['busybox', 'docker.io/library/busybox:latest', 'busybox:latest'],
    ['busybox:1.36', 'docker.io/library/busybox:1.36', 'busybox:1.36'],
    ['user/app', 'docker.io/user/app:latest', 'user/app:latest'],
    ['docker.io/busybox', 'docker.io/library/busybox:latest', 'busybox:latest'],
    ['index.docker.io/a/b:c', 'docker.io/a/b:c', 'a/b:c'],
    ['library/a/b', 'docker.io/library/a/b:latest', 'library/a/b:latest'],
    ['localhost/x', 'localhost/x:latest', 'localhost/x:latest'],
    ['localhost:5000/x:y', 'localhost:5000/x:y', 'localhost:5000/x:y'],
    ['quay.io/a/b/c', 'quay.io/a/b/c:latest', 'quay.io/a/b/c:latest'],
    ['[::1]:5000/x', '[::1]:5000/x:latest', '[::1]:5000/x:latest'],
    ['Host/x', 'Host/x:latest', 'Host/x:latest'],
    [`x@sha256:${HEX}`, `docker.io/library/x@sha256:${HEX}`, `x@sha256:${HEX}`],
    [`x:t@sha256:${HEX}`, `docker.io/library/x:t@sha256:${HEX}`, `x:t@sha256:${HEX}`],
    ['a__b-c--d.e_f', 'docker.io/library/a__b-c--d.e_f:latest', 'a__b-c--d.e_f:latest'],
  ];
  for (const [text, full, short] of cases) {
    const reference = withDefaultTag(parseReference(text));
    assert.equal(referenceText(reference), full);
    assert.equal(familiarText(reference), short);
    assert.deepEqual(parseReference(full), reference);
  }
});

test('malformed references are refused with Docker\u2019s sentences', () => {
  const cases: [string, RegExp][] = [
    ['', /^invalid reference format$/],
    ['a b', /^invalid reference format$/],
    ['UPPER', /repository name \(library\/UPPER\) must be lowercase$/],
    ['x/UPPER', /repository name \(x\/UPPER\) must be lowercase$/],
    ['a//b', /^invalid reference format$/],
    ['a/../b', /^invalid reference format$/],
    ['../a', /^invalid reference format$/],
    ['-a', /^invalid reference format$/],
    ['a___b', /^invalid reference format$/],
    ['a:', /^invalid reference format$/],
    ['a:-t', /^invalid reference format$/],
    [`a:${'t'.repeat(129)}`, /^invalid reference format$/],
    ['a@sha256:abc', /^invalid reference format$/],
    ['a@sha256:../../etc/passwd', /^invalid reference format$/],
    [`a@md5:${'a'.repeat(32)}`, /^invalid reference format$/],
    ['host:port/a', /^invalid reference format$/],
    ['a\n', /^invalid reference format$/],
    [HEX, /cannot specify 64-byte hexadecimal strings/],
    ['a'.repeat(256), /not be more than 255 characters/],
  ];
  for (const [text, message] of cases) {
    assert.throws(() => parseReference(text), { code: 'invalid-reference', message }, text);
  }
});
