import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  DEFAULT_DETACH_KEYS,
  DetachKeys,
  parseDetachKeys,
} from '../../../vmm/cli/container/attach/detach-keys.ts';

function typed(keys: string, ...chunks: string[]): { passed: string; detached: boolean } {
  let detached = false;
  const filter = new DetachKeys(parseDetachKeys(keys), () => {
    detached = true;
  });
  const passed = chunks.map((chunk) => Buffer.from(filter.filter(Buffer.from(chunk)))).join('');
  return { passed, detached };
}

test('Ctrl-P Ctrl-Q detaches, at once or one after the other', () => {
  assert.deepEqual(typed(DEFAULT_DETACH_KEYS, 'ls\r\x10\x11more'), {
    passed: 'ls\r',
    detached: true,
  });
  assert.deepEqual(typed(DEFAULT_DETACH_KEYS, 'a\x10', '\x11'), { passed: 'a', detached: true });
});

test('what only begins like the keys is passed on', () => {
  assert.deepEqual(typed(DEFAULT_DETACH_KEYS, '\x10x'), { passed: '\x10x', detached: false });
  assert.deepEqual(typed(DEFAULT_DETACH_KEYS, '\x10\x10\x11'), { passed: '\x10', detached: true });
  assert.deepEqual(typed('a,b', 'aab'), { passed: 'a', detached: true });
  assert.deepEqual(typed('', '\x10\x11'), { passed: '\x10\x11', detached: false });
});

test('keys of the user, and invalid ones', () => {
  assert.deepEqual([...parseDetachKeys('ctrl-a,x,ctrl-[')], [1, 120, 27]);
  for (const keys of ['ctrl-', 'ctrl-aa', 'ctrl-1', 'xx', 'a,,b']) {
    assert.throws(() => parseDetachKeys(keys), /invalid detach keys/, keys);
  }
});
