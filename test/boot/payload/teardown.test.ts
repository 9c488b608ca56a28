/**
 * Whatever step of a machine's life fails, nothing is left of it: no thread, file, lock or memory.
 * Each call of the host's and the addon's, from the boot to the close, fails in turn.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { bootMachine, createLogger, type MachineConfig } from '../../../vmm/index.ts';
import { FailingSteps } from '../../support/failing-steps.ts';
import { PAYLOAD, temporaryFolder } from '../../support/tsvm-process.ts';

/** No other mapping of this process is as large. */
const MEMORY_BYTES = 79 * 2 ** 20;

/** Of calls that are made for every device or as the guest runs, so many fail in turn. */
const OCCURRENCES_MAX = 12;

/** A thread may end while threads are listed. */
function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** What this process has of machines, and what lies in a folder. */
function belongings(folder: string): readonly string[] {
  const threads = readdirSync('/proc/self/task')
    .map((id) => readIfThere(`/proc/self/task/${id}/comm`).trim())
    .filter((name) => name.startsWith('tsvm-'));
  const files = readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return /kvm|eventfd|io_uring|disk|tsvm/.test(target) ? [target.replace(/\d+/g, '')] : [];
    } catch {
      return [];
    }
  });
  const mappings = readFileSync('/proc/self/maps', 'latin1')
    .split('\n')
    .filter((line) => {
      const [, start = '', end = ''] = /^(\w+)-(\w+)/.exec(line) ?? [];
      return Number.parseInt(end, 16) - Number.parseInt(start, 16) === MEMORY_BYTES;
    })
    .map(() => 'guest memory');
  const locks = readFileSync('/proc/locks', 'utf8')
    .split('\n')
    .filter((line) => line.includes(` ${process.pid} `));
  return [...threads, ...files, ...mappings, ...locks, ...readdirSync(folder)].sort();
}

test('if any step of boot, attach or close fails, no resources are leaked', async (t) => {
  const folder = temporaryFolder(t);
  const temporary = process.env['TMPDIR'];
  process.env['TMPDIR'] = folder;
  t.after(() => {
    if (temporary === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = temporary;
  });
  const disks = ['raw.disk', 'other.disk'].map((name) => {
    const path = join(folder, name);
    writeFileSync(path, new Uint8Array(2 ** 20));
    return {
      path,
      readOnly: false,
      format: 'raw',
      overlay: false,
      backing: 'same-folder',
    } as const;
  });
  const initrdPath = join(folder, 'initrd');
  writeFileSync(initrdPath, 'initrd');
  const config: MachineConfig = {
    kernelPath: PAYLOAD,
    initrdPath,
    disks: [disks[0], { ...disks[1], overlay: true }] as MachineConfig['disks'],
    appendCmdline: 'tests=blk-pattern',
    cpus: 2,
    memoryBytes: MEMORY_BYTES,
    acpi: false,
  };
  const reported: string[] = [];
  const life = async () => {
    const machine = await bootMachine(config, {
      logger: createLogger('warn', (line) => reported.push(line)),
    });
    try {
      machine.start();
      const end = await machine.ended;
      if (end.reason === 'failed') reported.push(end.message);
    } finally {
      await machine.close();
    }
  };

  // What is kept for the next time: the probe of the host, open files of Node's.
  await life();
  const before = belongings(folder);
  const steps = new FailingSteps();
  const counts = await steps.count(life);
  for (const name of ['openSync', 'new NativeVm', 'NativeVm.close', 'NativeQueueWorker.stop']) {
    assert.ok(counts.has(name), `${name} is among the steps of ${[...counts.keys()]}`);
  }
  for (const [name, count] of counts) {
    for (let occurrence = 1; occurrence <= Math.min(count, OCCURRENCES_MAX); occurrence++) {
      reported.length = 0;
      const failure = (error: unknown) => {
        reported.push(String(error));
      };
      const happened = await steps.during({ name, occurrence }, () => life().catch(failure));
      // How often a ring is looked at is not the same each time.
      if (!happened) continue;
      const what = `${name}, call ${occurrence}: ${reported.join('; ')}`;
      assert.deepEqual(belongings(folder), before, what);
      assert.match(what, /on purpose/, 'the failure is told');
    }
  }
});
