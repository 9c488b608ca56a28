/** The program that controls running machines: `tsvm list`, `tsvm stop`, … */
import './output-flags.ts';

import { commandLine } from '../util/byte-names.ts';
import { runControl } from './control/run-control.ts';
import { runToExit } from './run-to-exit.ts';

runToExit(() => runControl(commandLine().slice(2)));
