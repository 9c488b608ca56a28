/** The program that works on images: `tsvm image`. */
import { availableParallelism } from 'node:os';
import { commandLine } from '../util/byte-names.ts';
import { runImage } from './image/run-image.ts';
import { runToExit } from './run-to-exit.ts';

// For libuv, which looks at it when the first piece of work is for its threads: they compress.
process.env['UV_THREADPOOL_SIZE'] ??= String(Math.max(4, availableParallelism() + 2));
runToExit(() => runImage(commandLine().slice(3)));
