/**
 * Metrics in Prometheus' text format, version 0.0.4:
 * https://prometheus.io/docs/instrumenting/exposition_formats/
 */
import {
  DEVICE_COUNTERS,
  DEVICE_GAUGES,
  type MachineMetrics,
  QUEUE_COUNTERS,
  VCPU_COUNTERS,
  VCPU_EVENT_PREFIXES,
  VCPU_EVENTS_HELP,
  VCPU_GAUGES,
} from './machine-metrics.ts';

type Labels = Readonly<Record<string, string>>;
type Values = Readonly<Record<string, number>>;
type Help = Readonly<Record<string, string>>;

interface Family {
  readonly type: 'counter' | 'gauge';
  readonly help: string | undefined;
  readonly samples: string[];
}

/** @param machine name of the machine: a label of every sample */
export function prometheusText(machine: string, { vcpus, devices }: MachineMetrics): string {
  const text = new FamilyList();
  for (const [name, value] of Object.entries(vcpus)) {
    const isEvent = VCPU_EVENT_PREFIXES.some((prefix) => name.startsWith(prefix));
    if (isEvent) {
      const labels = { machine, event: name };
      text.add('tsvm_vcpu_events_total', 'counter', VCPU_EVENTS_HELP, labels, value);
    } else if (Object.hasOwn(VCPU_GAUGES, name)) {
      text.addGauges('tsvm_vcpu', VCPU_GAUGES, { machine }, { [name]: value });
    } else {
      text.addCounters('tsvm_vcpu', VCPU_COUNTERS, { machine }, { [name]: value });
    }
  }
  for (const [device, { counters, gauges, queues }] of Object.entries(devices)) {
    text.addCounters('tsvm_device', DEVICE_COUNTERS, { machine, device }, counters);
    text.addGauges('tsvm_device', DEVICE_GAUGES, { machine, device }, gauges);
    for (const [index, values] of queues.entries()) {
      const labels = { machine, device, queue: `${index}` };
      text.addCounters('tsvm_queue', QUEUE_COUNTERS, labels, values);
    }
  }
  return text.toString();
}

/** All samples of a name must follow each other. */
class FamilyList {
  readonly #families = new Map<string, Family>();

  addCounters(prefix: string, help: Help, labels: Labels, values: Values): void {
    for (const [name, value] of Object.entries(values)) {
      this.add(`${prefix}_${snakeCase(name)}_total`, 'counter', help[name], labels, value);
    }
  }

  addGauges(prefix: string, help: Help, labels: Labels, values: Values): void {
    for (const [name, value] of Object.entries(values)) {
      this.add(`${prefix}_${snakeCase(name)}`, 'gauge', help[name], labels, value);
    }
  }

  add(
    name: string,
    type: Family['type'],
    help: string | undefined,
    labels: Labels,
    value: number,
  ): void {
    let family = this.#families.get(name);
    if (family === undefined) {
      family = { type, help, samples: [] };
      this.#families.set(name, family);
    }
    const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`);
    family.samples.push(`${name}{${pairs.join(',')}} ${value}\n`);
  }

  toString(): string {
    let text = '';
    for (const [name, { type, help, samples }] of this.#families) {
      if (help !== undefined) text += `# HELP ${name} ${escapeHelp(help)}\n`;
      text += `# TYPE ${name} ${type}\n${samples.join('')}`;
    }
    return text;
  }
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`).replace(/\W/g, '_');
}

function escapeHelp(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

function escapeLabel(text: string): string {
  return escapeHelp(text).replaceAll('"', '\\"');
}
