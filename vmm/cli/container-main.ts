/** The program that works with containers and their images: `tsvm pull`, `tsvm images`, … */
import { availableParallelism } from 'node:os';
import { commandLine } from '../util/byte-names.ts';
import { runContainer } from './container/run-container.ts';
import { runToExit } from './run-to-exit.ts';

// For libuv, which looks at it when the first piece of work is for its threads: they unpack and write.
process.env['UV_THREADPOOL_SIZE'] ??= String(Math.max(4, availableParallelism() + 2));
runToExit(() => runContainer(commandLine().slice(2)));
