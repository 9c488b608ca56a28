/** The oracle is the parser of Prometheus' Python client. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEVICE_COUNTERS, VCPU_EVENTS_HELP } from '../../../vmm/machine/machine-metrics.ts';
import { prometheusText } from '../../../vmm/machine/prometheus-text.ts';
import { parsePrometheus } from '../../support/prometheus.ts';

test('each value becomes a sample with its type, description and labels', () => {
  const text = prometheusText('web', {
    vcpus: { exits: 3, engineResidentBytes: 4096, 'exception-14': 5, 'step-0fa2': 1 },
    devices: {
      disk0: {
        counters: { readBytes: 2 ** 52, reads: 1 },
        gauges: {},
        queues: [
          { chains: 7, notifications: 6 },
          { chains: 0, notifications: 0 },
        ],
      },
      rng: { counters: { bytes: 9 }, gauges: {}, queues: [] },
      disk1: { counters: { reads: 2 }, gauges: {}, queues: [] },
    },
  });
  const samples = parsePrometheus(text);
  const all = samples.map(({ name, labels, value, type }) => {
    const { machine, ...rest } = labels;
    assert.equal(machine, 'web');
    return `${type} ${name} ${Object.values(rest).join('/')} ${value}`;
  });
  assert.deepEqual(all, [
    'counter tsvm_vcpu_exits_total  3',
    'gauge tsvm_vcpu_engine_resident_bytes  4096',
    'counter tsvm_vcpu_events_total exception-14 5',
    'counter tsvm_vcpu_events_total step-0fa2 1',
    `counter tsvm_device_read_bytes_total disk0 ${2 ** 52}`,
    'counter tsvm_device_reads_total disk0 1',
    'counter tsvm_device_reads_total disk1 2',
    'counter tsvm_queue_chains_total disk0/0 7',
    'counter tsvm_queue_chains_total disk0/1 0',
    'counter tsvm_queue_notifications_total disk0/0 6',
    'counter tsvm_queue_notifications_total disk0/1 0',
    'counter tsvm_device_bytes_total rng 9',
  ]);
  const help = (name: string) => samples.find((sample) => sample.name === name)?.help;
  assert.equal(help('tsvm_device_read_bytes_total'), DEVICE_COUNTERS.readBytes);
  assert.equal(help('tsvm_vcpu_events_total'), VCPU_EVENTS_HELP);
});

test('labels keep quotes, backslashes and newlines; values without a description are kept', () => {
  const machine = 'a"b\\c\nd';
  const device = { counters: { 'odd-name': 1 }, gauges: {}, queues: [] };
  const [sample] = parsePrometheus(prometheusText(machine, { vcpus: {}, devices: { x: device } }));
  assert.equal(sample?.labels['machine'], machine);
  assert.equal(sample?.name, 'tsvm_device_odd_name_total');
});
