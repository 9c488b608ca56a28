/** Metrics of a machine while it runs. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import {
  DEVICE_COUNTERS,
  DEVICE_GAUGES,
  QUEUE_COUNTERS,
  VCPU_COUNTERS,
  VCPU_EVENT_PREFIXES,
  VCPU_GAUGES,
} from '../../../vmm/machine/machine-metrics.ts';
import { parsePrometheus } from '../../support/prometheus.ts';
import { runningMachinesOf } from '../../support/running-machines.ts';
import { temporaryFolder } from '../../support/tsvm-process.ts';

interface Metrics {
  readonly machine: string;
  readonly vcpus: Record<string, number>;
  readonly devices: Record<
    string,
    {
      counters: Record<string, number>;
      gauges: Record<string, number>;
      queues: Record<string, number>[];
    }
  >;
}

test('every counter of every device is described, and Prometheus gets the same values', async (context) => {
  const { run, bootPayload } = runningMachinesOf(context);
  const disk = join(temporaryFolder(context), 'disk.img');
  writeFileSync(disk, new Uint8Array(2 ** 20));
  const socket = join(temporaryFolder(context), 'vsock');
  const args = `--disk ${disk} --cpus 2 --vsock ${socket} --share ${dirname(disk)}:s --balloon --memory 256M,max=512M --net user --port p=${socket}-p`;
  assert.equal((await bootPayload('web', 'tests=blk-pattern,rng,serial-echo', args)).code, 0);
  // The guest waits for input once it has used its devices.
  let metrics: Metrics | undefined;
  while (!metrics?.devices['rng']?.counters['bytes']) {
    metrics = JSON.parse((await run('metrics web')).stdout) as Metrics;
  }
  assert.equal(metrics.machine, 'web');
  const undescribed = (names: object, help: object) =>
    Object.keys(names).filter((name) => !Object.hasOwn(help, name));
  const vcpuNames = undescribed(metrics.vcpus, { ...VCPU_COUNTERS, ...VCPU_GAUGES }).filter(
    (name) => !VCPU_EVENT_PREFIXES.some((prefix) => name.startsWith(prefix)),
  );
  assert.deepEqual(vcpuNames, [], 'described in vmm/machine/machine-metrics.ts');
  for (const [id, { counters, gauges, queues }] of Object.entries(metrics.devices)) {
    assert.deepEqual(undescribed(counters, DEVICE_COUNTERS), [], `described: ${id}`);
    assert.deepEqual(undescribed(gauges, DEVICE_GAUGES), [], `described: ${id}`);
    for (const queue of queues) assert.deepEqual(undescribed(queue, QUEUE_COUNTERS), [], id);
  }
  const { disk0 } = metrics.devices;
  assert.ok(disk0 !== undefined);
  assert.equal(disk0.queues.length, 2);
  const chains = disk0.queues.reduce((sum, queue) => sum + (queue['chains'] ?? 0), 0);
  assert.ok(chains > 0);
  assert.equal(chains, disk0.counters['chains']);

  // The guest rests, so nothing changes between the two.
  const samples = parsePrometheus((await run('metrics --format prometheus web')).stdout);
  const value = (name: string, labels: Record<string, string>) =>
    samples.find(
      (sample) =>
        sample.name === name &&
        Object.entries(labels).every(([label, text]) => sample.labels[label] === text),
    )?.value;
  assert.equal(
    value('tsvm_device_written_bytes_total', { device: 'disk0', machine: 'web' }),
    disk0.counters['writtenBytes'],
  );
  for (const [queue, counters] of disk0.queues.entries()) {
    assert.equal(
      value('tsvm_queue_chains_total', { device: 'disk0', queue: `${queue}` }),
      counters['chains'],
    );
  }
});
