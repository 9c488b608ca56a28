/** The program that runs a container, in the background: see `container/supervise.ts`. */
import { commandLine } from '../util/byte-names.ts';
import { superviseContainer } from './container/supervise.ts';
import { runToExit } from './run-to-exit.ts';

runToExit(() => superviseContainer(commandLine()[3] ?? ''));
