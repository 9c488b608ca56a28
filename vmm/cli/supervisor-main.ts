/** The programs behind containers: those that run one, and one that makes a template for them. */
import './output-flags.ts';

import { commandLine } from '../util/byte-names.ts';
import { superviseContainer } from './container/supervise.ts';
import { runTemplateProcess } from './container/template-process.ts';
import { TEMPLATE_COMMAND } from './programs.ts';
import { runToExit } from './run-to-exit.ts';

const [, , command, argument = ''] = commandLine();
runToExit(() =>
  command === TEMPLATE_COMMAND ? runTemplateProcess(argument) : superviseContainer(argument),
);
