/** The program for disk images: `tsvm image`. */
import './output-flags.ts';

import { commandLine } from '../util/byte-names.ts';
import { runImage } from './image/run-image.ts';
import { runToExit } from './run-to-exit.ts';
import { useThreads } from './threads.ts';

useThreads();
runToExit(() => runImage(commandLine().slice(3)));
