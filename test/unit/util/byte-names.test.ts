import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { decodeBytes, encodeBytes, fsPath } from '../../../vmm/util/byte-names.ts';

const NAMES: readonly (readonly number[])[] = [
  [0x61, 0x2e, 0xe9],
  [0xc3, 0xa9],
  [0xc3],
  [0xed, 0xa0, 0x80],
  [0xf0, 0x9f, 0x98],
  [0xf0, 0x9f, 0x98, 0x80, 0xff, 0x80],
  [0xef, 0xbb, 0xbf, 0x61],
  [0xef, 0xbf, 0xbd],
];

test('bytes that are no UTF-8 come back as they were, and no two names are one', () => {
  const decoded = NAMES.map((bytes) => decodeBytes(Uint8Array.from(bytes)));
  assert.deepEqual(
    decoded.map((name) => [...encodeBytes(name)]),
    NAMES,
  );
  assert.equal(new Set(decoded).size, NAMES.length);
  for (let byte = 1; byte < 256; byte++) {
    assert.deepEqual([...encodeBytes(decodeBytes(Uint8Array.of(byte)))], [byte]);
  }
});

test('a name that is UTF-8 is a plain string', () => {
  assert.equal(decodeBytes(Buffer.from('größe.img')), 'größe.img');
  assert.equal(fsPath('größe.img'), 'größe.img');
});

test('the file system sees the bytes', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-names-'));
  const name = decodeBytes(Uint8Array.of(0x63, 0xe9));
  writeFileSync(fsPath(join(folder, name)), '');
  assert.deepEqual(readdirSync(folder, { encoding: 'buffer' }), [Buffer.of(0x63, 0xe9)]);
  rmSync(folder, { recursive: true });
});

test('the arguments of a program keep their bytes', () => {
  const module = join(import.meta.dirname, '../../../vmm/util/byte-names.ts');
  const script =
    `import { commandLine, encodeBytes } from '${module}';` +
    'const words = commandLine().slice(2);' +
    'process.stdout.write(Buffer.concat(words.map((word) => encodeBytes("<" + word + ">"))));';
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-names-'));
  writeFileSync(join(folder, 'show.mts'), script);
  const command = `exec "${process.execPath}" "${folder}/show.mts" plain "$(printf 'caf\\351')" "" last`;
  const shown = execFileSync('sh', ['-c', command]);
  assert.deepEqual(shown, Buffer.from('<plain><caf\xe9><><last>', 'latin1'));
  rmSync(folder, { recursive: true });
});
