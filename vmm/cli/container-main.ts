/** The program for local container images: `tsvm images`, `tsvm save`, … */
import { commandLine } from '../util/byte-names.ts';
import { runContainer } from './container/run-container.ts';
import { CONTAINER_VERB_LOADERS } from './container/verbs.ts';
import { runToExit } from './run-to-exit.ts';

runToExit(() => runContainer(commandLine().slice(2), CONTAINER_VERB_LOADERS));
