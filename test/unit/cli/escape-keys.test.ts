import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EscapeKeys } from '../../../vmm/cli/escape-keys.ts';

function typed(...pieces: string[]): { input: string; actions: string[] } {
  const actions: string[] = [];
  const keys = new EscapeKeys([{ key: 'x', help: 'end', action: () => actions.push('exit') }], () =>
    actions.push('help'),
  );
  const input = pieces.map((piece) => Buffer.from(keys.filter(Buffer.from(piece))).toString());
  return { input: input.join(''), actions };
}

test('input passes through, except for Ctrl-A x and Ctrl-A h', () => {
  assert.deepEqual(typed('ls\r'), { input: 'ls\r', actions: [] });
  assert.deepEqual(typed('a\x01xb'), { input: 'ab', actions: ['exit'] });
  assert.deepEqual(typed('\x01h'), { input: '', actions: ['help'] });
});

test('a prefix at the end of one read holds for the next', () => {
  assert.deepEqual(typed('a\x01', 'xb'), { input: 'ab', actions: ['exit'] });
});

test('Ctrl-A twice sends one, an unknown key after it is dropped', () => {
  assert.deepEqual(typed('\x01\x01'), { input: '\x01', actions: [] });
  assert.deepEqual(typed('\x01a'), { input: '\x01', actions: [] });
  assert.deepEqual(typed('\x01qz'), { input: 'z', actions: [] });
});
