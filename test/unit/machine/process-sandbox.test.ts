import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSandbox } from '../../../vmm/cli/boot-options.ts';
import { type MachineConfig, resolveConfig } from '../../../vmm/machine/config.ts';
import { sandboxOf } from '../../../vmm/machine/process-sandbox.ts';

function reachOf(config: Partial<MachineConfig>, restarts = false) {
  return sandboxOf(resolveConfig({ kernelPath: '/k', ...config }), restarts);
}

test('a machine that starts programs or opens files later has its threads confined, not its process', () => {
  assert.deepEqual(reachOf({}), { reach: 'off' }, 'the process may be somebody else’s');
  assert.deepEqual(reachOf({ sandbox: true }), { reach: 'process' });
  const sharing = reachOf({ sandbox: true, shares: [{ path: '/', tag: 'all' }] });
  assert.equal(sharing.reach, 'threads');
  assert.match(sharing.reason ?? '', /virtiofsd/);
  const restarting = reachOf({ sandbox: true }, true);
  assert.equal(restarting.reach, 'threads');
  assert.match(restarting.reason ?? '', /restarts/);
  assert.deepEqual(reachOf({}, true), { reach: 'off' });
});

test('--sandbox on, off, or on with files', () => {
  assert.deepEqual(parseSandbox('on'), { on: true, files: [] });
  assert.deepEqual(parseSandbox('off'), { on: false, files: [] });
  assert.deepEqual(parseSandbox('on,files=/a,files=b,,c'), { on: true, files: ['/a', 'b,c'] });
  for (const wrong of ['', 'yes', 'off,files=/a', 'on,files=', 'on,file=/a']) {
    assert.throws(() => parseSandbox(wrong), /Use on|missing/, wrong);
  }
});
