import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Machine } from '../../../vmm/machine/machine.ts';
import { type SuperviseOptions, superviseMachine } from '../../../vmm/machine/supervisor.ts';
import { createLogger } from '../../../vmm/observability/logger.ts';
import { FakeVm } from '../../support/fake-vm.ts';

/** A supervisor of machines that the test ends. */
function supervise(options: Partial<SuperviseOptions> = {}) {
  const logged: string[] = [];
  const machines: Machine[] = [];
  const logger = createLogger('debug', (line) => logged.push(line));
  const outcome = superviseMachine({
    boot: async () => {
      const vm = new FakeVm();
      const machine = new Machine({ logger, vm, memory: { close: () => {} } });
      vm.wake = () => machine.wake();
      machines.push(machine);
      return machine;
    },
    restartsOnReset: true,
    logger,
    ...options,
  });
  outcome.catch(() => {});
  const machine = async (index: number): Promise<Machine> => {
    for (let i = 0; machines[index]?.state !== 'running'; i++) {
      assert.ok(i < 100, `machine ${index} runs`);
      await turn();
    }
    return machines[index] as Machine;
  };
  return { outcome, machine, machines, logged };
}

test('a reset starts the guest again, any other end does not', async () => {
  const { outcome, machine, machines } = supervise();
  (await machine(0)).reset();
  (await machine(1)).reset();
  assert.equal(machines[0]?.state, 'stopped');
  (await machine(2)).powerOff();
  assert.deepEqual(await outcome, { end: { reason: 'poweroff' }, closed: true });
  assert.equal(machines.length, 3);
});

test('without restarts a reset is an end', async () => {
  const { outcome, machine } = supervise({ restartsOnReset: false });
  (await machine(0)).reset();
  assert.deepEqual(await outcome, { end: { reason: 'reset' }, closed: true });
});

test('a signal stops the machine that runs, and one that was about to start', async () => {
  const running = new AbortController();
  const first = supervise({ signal: running.signal });
  await first.machine(0);
  running.abort();
  assert.deepEqual(await first.outcome, { end: { reason: 'stopped' }, closed: true });
  const aborted = supervise({ signal: AbortSignal.abort() });
  assert.deepEqual(await aborted.outcome, { end: { reason: 'stopped' }, closed: true });
});

test('a signal during the close after a reset: no other machine is started', async () => {
  const controller = new AbortController();
  const { outcome, machine, machines } = supervise({
    signal: controller.signal,
    onEnded: () => controller.abort(),
  });
  (await machine(0)).reset();
  assert.equal((await outcome).end.reason, 'reset');
  assert.equal(machines.length, 1);
});

test('a machine whose close fails is not restarted, and each failure is reported', async () => {
  const { outcome, machine, machines, logged } = supervise({
    onBooted: () => {
      machines[0]?.own(() => {
        throw new Error('a lock that stays');
      });
    },
    onEnded: () => {
      throw new Error('no counters');
    },
  });
  (await machine(0)).reset();
  assert.deepEqual(await outcome, { end: { reason: 'reset' }, closed: false });
  assert.equal(machines.length, 1);
  assert.match(logged.join('\n'), /no counters.*a lock that stays/s);
});

test('an error before the start is thrown, and the machine is closed', async () => {
  const { outcome, machines } = supervise({
    onBooted: () => {
      throw new Error('no sign of life');
    },
  });
  await assert.rejects(outcome, /no sign of life/);
  assert.equal(machines[0]?.state, 'stopped');
  const boot = () => Promise.reject(new Error('no kernel'));
  await assert.rejects(supervise({ boot }).outcome, /no kernel/);
});
