/** The program that transfers container images to and from registries: `tsvm pull`, … */
import './output-flags.ts';

import { commandLine } from '../util/byte-names.ts';
import { REGISTRY_VERB_LOADERS } from './container/registry-verbs.ts';
import { runContainer } from './container/run-container.ts';
import { runToExit } from './run-to-exit.ts';
import { useThreads } from './threads.ts';

useThreads();
runToExit(() => runContainer(commandLine().slice(2), REGISTRY_VERB_LOADERS));
