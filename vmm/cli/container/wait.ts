import { isActive } from '../../container/containers/container-state.ts';
import type { ContainerStore } from '../../container/containers/container-store.ts';
import { readExitRecord } from '../../container/containers/exit-records.ts';
import { TsvmError } from '../../errors.ts';
import { printMessage } from '../standard-streams.ts';
import { clientOf, openContainers } from './containers.ts';
import { errorText } from './error-text.ts';
import { type Verb, writeLine } from './verb.ts';

export const waitVerb: Verb = {
  usage: 'wait CONTAINER [CONTAINER...]',
  argumentsMin: 1,
  argumentsMax: Number.POSITIVE_INFINITY,
  help: `
Prints the exit codes.

Examples:
  tsvm wait job
  tsvm run -d --rm --name job busybox sleep 5; tsvm wait job`,
  addOptions: (command) => command,
  run: async (names) => {
    const store = openContainers();
    const codes = names.map((name) => exitCode(store, name));
    // Printed in order; a failure is printed as it comes.
    for (const code of codes) code.catch(() => {});
    let status = 0;
    for (const code of codes) {
      try {
        writeLine(String(await code));
      } catch (error) {
        if (!(error instanceof TsvmError)) throw error;
        printMessage(`${errorText(error)}\n`);
        status = 1;
      }
    }
    return status;
  },
};

async function exitCode(store: ContainerStore, name: string): Promise<number> {
  const container = await store.find(name);
  const { id } = container.config;
  if (!isActive(container.state)) return container.state.exitCode;
  try {
    const condition = container.config.autoRemove ? 'removed' : 'next-exit';
    const answer = await clientOf(store, container).call(
      'wait',
      { query: { condition } },
      Number.POSITIVE_INFINITY,
    );
    return answer.exitCode;
  } catch (error) {
    if (!(error instanceof TsvmError)) throw error;
    // It has ended before it was asked, or its supervisor was killed.
    const settled = await store.find(id).catch(() => undefined);
    if (settled !== undefined && !isActive(settled.state)) return settled.state.exitCode;
    const record = readExitRecord(store.folders.exits, id);
    if (record !== undefined) return record.exitCode;
    throw error;
  }
}
