import assert from 'node:assert/strict';
import { test } from 'node:test';
import { printable } from '../../../vmm/util/printable.ts';

test('text in any script is unchanged', () => {
  assert.equal(printable('disk-1 Größe ディスク 💾'), 'disk-1 Größe ディスク 💾');
});

test('control characters, escapes and text direction characters are replaced', () => {
  assert.equal(
    printable('a\u001b[31mb\r\nc\u0000\u009bd'),
    'a\ufffd[31mb\ufffd\ufffdc\ufffd\ufffdd',
  );
  assert.equal(printable('\u202egpj.exe\u2028'), '\ufffdgpj.exe\ufffd');
});

test('it is cut off', () => {
  assert.equal(printable('x'.repeat(5000)).length, 1023);
  assert.equal(printable('abcdef', 3), 'abc');
});
