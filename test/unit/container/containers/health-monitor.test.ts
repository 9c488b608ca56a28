import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import type { Agent, GuestProcess } from '../../../../vmm/container/agent/agent.ts';
import type {
  ContainerConfig,
  HealthCheck,
} from '../../../../vmm/container/containers/container-config.ts';
import type { HealthState } from '../../../../vmm/container/containers/container-state.ts';
import { HealthMonitor } from '../../../../vmm/container/containers/health-monitor.ts';

const CHECK: HealthCheck = {
  test: ['CMD', 'check'],
  intervalMs: 1,
  timeoutMs: 60_000,
  startPeriodMs: 0,
  startIntervalMs: 1,
  retries: 1,
};

test('what a check has said is in its result, even if it came together with its end', async () => {
  // As when a busy host reads all frames of the process at once.
  const startProcess = async (): Promise<GuestProcess> => {
    const stdout = new Readable({ read: () => {} });
    const stderr = new Readable({ read: () => {} });
    stdout.push('out\n');
    stderr.push('err\n');
    return { id: 1, stdin: undefined, stdout, stderr, ended: Promise.resolve({ exitCode: 1 }) };
  };
  const config = { user: '', env: [], workingDir: '' } as unknown as ContainerConfig;
  // The monitor's timers do not keep this process alive.
  const alive = setInterval(() => {}, 1000);
  const state = await new Promise<HealthState>((resolve) => {
    const monitor = new HealthMonitor(
      { startProcess } as unknown as Agent,
      config,
      CHECK,
      (health) => {
        monitor.stop();
        resolve(health);
      },
    );
    monitor.start();
  });
  clearInterval(alive);
  assert.equal(state.status, 'unhealthy');
  assert.deepEqual(
    state.log.map(({ exitCode, output }) => [exitCode, output]),
    [[1, 'out\nerr\n']],
  );
});
