import type { Command } from 'commander';
import { ControlClient } from '../../api/control/client.ts';
import { type RunningMachine, runningMachines } from '../../api/machines/running-machines.ts';
import { TsvmError } from '../../errors.ts';
import { formatSize } from '../../util/size.ts';
import { formatList, type ListKind } from '../container/template/formatted-list.ts';
import { humanDuration } from '../container/units.ts';
import { print } from '../standard-streams.ts';

/** A machine that does not answer within this is listed as such. */
const ANSWER_MS = 5_000;

const MACHINE_LIST: ListKind = {
  typeName: 'machine',
  headings: {
    Name: 'NAME',
    Status: 'STATUS',
    State: 'STATE',
    PID: 'PID',
    CPUs: 'CPUS',
    Memory: 'MEMORY',
    StartedAt: 'STARTED AT',
  },
};
const TABLE = 'table {{.Name}}\t{{.Status}}\t{{.CPUs}}\t{{.Memory}}\t{{.PID}}';

interface ListOptions {
  readonly format: string;
  readonly quiet?: boolean;
}

const HELP = `
Examples:
  tsvm list
  tsvm list --format json                         a JSON object per line
  tsvm list --format '{{.Name}} {{.State}}'       fields: ${Object.keys(MACHINE_LIST.headings).join(', ')}
  tsvm list --quiet | xargs --no-run-if-empty --max-args 1 tsvm stop`;

export function addList(command: Command): void {
  command
    .option('--format <format>', 'table, "table TEMPLATE", json or a Go template', 'table')
    .option('-q, --quiet', 'show only names')
    .addHelpText('after', HELP)
    .action(async ({ format, quiet }: ListOptions) => {
      const rows = await Promise.all(runningMachines().map(describe));
      const plain = quiet === true ? '{{.Name}}' : TABLE;
      print(formatList(format === 'table' ? plain : format, rows, MACHINE_LIST));
    });
}

async function describe(machine: RunningMachine): Promise<Readonly<Record<string, unknown>>> {
  const { name, record } = machine;
  const own = {
    Name: name,
    PID: record?.pid ?? 0,
    StartedAt: record === undefined ? '' : new Date(record.startedMs).toISOString(),
  };
  try {
    const status = await new ControlClient(machine, ANSWER_MS).call('getMachine');
    const { state, cpus, memoryBytes, startedAt } = status;
    const up = `Up ${humanDuration(Date.now() - Date.parse(startedAt)).toLowerCase()}`;
    return {
      ...own,
      Status: state === 'running' ? up : `${up} (${state})`,
      State: state,
      CPUs: cpus,
      Memory: formatSize(memoryBytes),
    };
  } catch (error) {
    if (!(error instanceof TsvmError)) throw error;
    return { ...own, Status: 'Does not answer', State: 'unknown', CPUs: '', Memory: '' };
  }
}
