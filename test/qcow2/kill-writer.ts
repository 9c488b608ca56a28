/**
 * A process that writes to an image until it is killed: `kill-writer.ts IMAGE FIRST-STEP`. Prints
 * "step N" before step N begins, and "flushed N" when step N and all earlier ones are flushed.
 */
import { writeSync } from 'node:fs';
import { Qcow2Image } from '../../vmm/backends/disk/image/qcow2/qcow2-image.ts';
import { loadData, loadStep } from './kill-load.ts';
import { openWithChain } from './verdict.ts';

const STEPS_PER_FLUSH = 7;

async function main([path = '', first = '1']: readonly string[]): Promise<void> {
  const image = openWithChain(path, { readOnly: false });
  if (!(image instanceof Qcow2Image)) throw new Error(`${path} is no qcow2 image`);
  const shape = { sizeBytes: image.sizeBytes, clusterBytes: image.clusterBytes };
  let flushing: Promise<void> = Promise.resolve();
  for (let number = Number(first); ; number++) {
    say(`step ${number}`);
    const step = loadStep(shape, number);
    if (step.kind === 'write') await image.write(step.offset, loadData(step, number));
    else if (step.kind === 'zeroes') image.writeZeroesSync(step.offset, step.length, true);
    else image.discardSync(step.offset, step.length);
    if (number % STEPS_PER_FLUSH !== 0) continue;
    // Steps continue during a flush.
    await flushing;
    flushing = image.flush().then(() => say(`flushed ${number}`));
  }
}

/** Synchronously: the output is in the pipe when the process is killed. */
function say(line: string): void {
  writeSync(1, `${line}\n`);
}

await main(process.argv.slice(2));
