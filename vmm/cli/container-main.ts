/** The program for containers and their local images: `tsvm run`, `tsvm images`, … */
import './output-flags.ts';

import { commandLine } from '../util/byte-names.ts';
import { isForMachine } from './container/machine-names.ts';
import { runContainer } from './container/run-container.ts';
import { CONTAINER_VERB_LOADERS } from './container/verbs.ts';
import { runToExit } from './run-to-exit.ts';

runToExit(async () => {
  const args = commandLine().slice(2);
  if (!isForMachine(args)) return await runContainer(args, CONTAINER_VERB_LOADERS);
  const { runControl } = await import('./control/run-control.ts');
  return await runControl(args);
});
