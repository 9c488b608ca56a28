import type { ContainerEvent } from '../../container/containers/event-log.ts';
import { readEvents } from '../../container/containers/event-reader.ts';
import { print } from '../standard-streams.ts';
import { openContainers } from './containers.ts';
import { parseFilters } from './image-filters.ts';
import { text, texts } from './option-values.ts';
import { Template } from './template/template.ts';
import { parseTime } from './times.ts';
import { rfc3339 } from './units.ts';
import { collect, type Verb } from './verb.ts';

const FILTERS = ['container', 'event', 'image', 'label', 'network', 'type', 'volume'];
const NS_DIGITS = '000000';

export const eventsVerb: Verb = {
  usage: 'events [OPTIONS]',
  argumentsMin: 0,
  argumentsMax: 0,
  help: `
Shows events as they happen, until it is interrupted or --until is reached.

Examples:
  tsvm events --filter event=die
  tsvm events --since 10m --until 0s --format '{{.Action}} {{.Actor.Attributes.name}}'`,
  addOptions: (command) =>
    command
      .option(
        '-f, --filter <filter>',
        `only show these: ${FILTERS.join(', ')}, each =VALUE`,
        collect,
      )
      .option('--format <format>', 'json or a Go template')
      .option('--since <time>', 'also show earlier events, from this time on')
      .option('--until <time>', 'stop at this time'),
  run: async (_, options) => {
    const filters = parseFilters(texts(options, 'filter'), FILTERS);
    const since = text(options, 'since');
    const until = text(options, 'until');
    const format = text(options, 'format') ?? '';
    const template = format === '' || format === 'json' ? undefined : new Template(format);
    const events = readEvents(
      openContainers().folders,
      since === undefined ? undefined : parseTime(since),
      until === undefined ? undefined : parseTime(until),
    );
    for await (const event of events) {
      if (!matches(event, filters)) continue;
      if (template !== undefined) print(`${template.fill(dockerEvent(event))}\n`);
      else if (format === 'json') print(`${JSON.stringify(dockerEvent(event))}\n`);
      else print(`${eventLine(event)}\n`);
    }
    return 0;
  },
};

function matches(
  { action, attributes, id, type }: ContainerEvent,
  filters: ReturnType<typeof parseFilters>,
): boolean {
  const named = (value: string) => id.startsWith(value) || attributes['name'] === value;
  const tests: Readonly<Record<string, (value: string) => boolean>> = {
    container: (value) => type === 'container' && named(value),
    event: (value) => action === value || action.startsWith(`${value}:`),
    image: (value) => attributes['image'] === value || (type === 'image' && named(value)),
    label: (value) => {
      const [name = '', wanted] = value.split('=', 2);
      return (
        Object.hasOwn(attributes, name) && (wanted === undefined || attributes[name] === wanted)
      );
    },
    network: (value) => type === 'network' && named(value),
    type: (value) => type === value,
    volume: (value) => type === 'volume' && named(value),
  };
  return [...filters].every(([name, values]) =>
    values.some((value) => tests[name]?.(value) === true),
  );
}

function dockerEvent({ action, attributes, id, timeMs, type }: ContainerEvent): object {
  return {
    ...(type === 'container' && { status: action, id, from: attributes['image'] }),
    Type: type,
    Action: action,
    Actor: { ID: id, Attributes: attributes },
    scope: 'local',
    time: Math.trunc(timeMs / 1000),
    timeNano: timeMs * 1e6,
  };
}

function eventLine({ action, attributes, id, timeMs, type }: ContainerEvent): string {
  const fraction = String(timeMs % 1000).padStart(3, '0') + NS_DIGITS;
  const time = rfc3339(timeMs).replace(/(T\d\d:\d\d:\d\d)(?:\.\d+)?/, `$1.${fraction}`);
  const list = Object.entries(attributes)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`);
  return `${time} ${type} ${action} ${id} (${list.join(', ')})`;
}
