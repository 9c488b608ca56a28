/** Kills at any moment, and a full disk in each step: what was complete is there afterwards, and whole. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { rootfsKey } from '../../vmm/container/rootfs/rootfs-key.ts';
import { ImageStore } from '../../vmm/container/store/image-store.ts';
import { hostFiles } from '../../vmm/host/host-files.ts';
import { type ContainerCli, containerCli } from '../support/container-cli.ts';
import { startHostileRegistry } from '../support/hostile-registry.ts';
import { type MadeImage, makeImage, writeLayout } from '../support/image-maker.ts';
import { storeFaults } from '../support/own-store.ts';
import { Random, seedFrom } from '../support/random.ts';
import { makeTar } from '../support/tar-maker.ts';
import { temporaryFolder } from '../support/tsvm-process.ts';

const KILLS = Number(process.env['TSVM_IMAGE_KILLS'] ?? 100);

function testImage(): MadeImage {
  const random = new Random(7);
  return makeImage({
    layers: [1, 2, 3].map((layer) => {
      const data = Buffer.from(Uint8Array.from({ length: 500_000 }, () => random.below(256)));
      return makeTar([
        { name: `layer-${layer}`, data },
        { name: `zeroes-${layer}`, data: Buffer.alloc(2 ** 20) },
      ]);
    }),
  });
}

/** Every image of the catalog has all that it needs, and all content is what its name says. */
function assertWhole(images: string, after: string): void {
  const store = new ImageStore(images, hostFiles());
  for (const { manifest, layers } of store.catalog.read()) {
    const { config, layers: blobs } = store.content.readManifest(manifest);
    for (const { digest } of [config, ...blobs]) assert.ok(store.content.hasBlob(digest), after);
    const diffIds = layers.map(({ diffId }) => diffId);
    for (const diffId of diffIds) assert.ok(store.content.hasLayer(diffId), after);
    assert.ok(existsSync(store.folders.metadataImage(rootfsKey(diffIds))), after);
  }
  const faults = storeFaults(images).filter((fault) => !fault.startsWith('tmp/'));
  assert.deepEqual(faults, [], after);
}

async function killed(cli: ContainerCli, args: readonly string[], afterMs: number): Promise<void> {
  const timers: NodeJS.Timeout[] = [];
  await cli
    .run(args, {
      onStart: (child) => timers.push(setTimeout(() => child.kill('SIGKILL'), afterMs)),
    })
    // That it was killed.
    .catch(() => {});
  for (const timer of timers) clearTimeout(timer);
}

test(`${KILLS} kills of pull, load and rmi, and of two at once`, async (t) => {
  const image = testImage();
  const { host } = await startHostileRegistry(t, image, {
    // So that a kill falls amid a layer.
    layer: async () => {
      await sleep(20);
      return false;
    },
  });
  const cli = containerCli(t);
  const layout = join(cli.folder, 'layout');
  mkdirSync(layout);
  writeLayout(layout, image);
  const name = `${host}/x/y:1`;
  const started = performance.now();
  await cli.ok(['pull', '-q', name]);
  const lastsMs = performance.now() - started;
  await cli.ok(['tag', name, 'stays:1']);
  const seed = seedFrom(process.env['TSVM_SEED'], 1);
  t.diagnostic(`TSVM_SEED=${seed} replays this`);
  const random = new Random(seed);
  const commands = [
    ['pull', '-q', name],
    ['load', '-i', layout],
    ['rmi', '-f', name],
    ['rmi', '-f', 'stays:1'],
    ['image', 'prune', '-a', '-f'],
    ['tag', name, 'stays:1'],
  ];
  for (let round = 0; round < KILLS; round++) {
    const chosen = Array.from({ length: random.between(1, 2) }, () => random.pick(commands));
    const moment = () => random.below(Math.ceil(1.3 * lastsMs));
    await Promise.all(chosen.map((command) => killed(cli, command, moment())));
    assertWhole(
      cli.images,
      `round ${round}: ${chosen.map((words) => words.join(' ')).join(' and ')}`,
    );
  }
  await cli.ok(['pull', '-q', name]);
  assertWhole(cli.images, 'the end');
  assert.deepEqual(storeFaults(cli.images), [], 'the last pull has cleaned up');
  await cli.ok(['image', 'prune', '-a', '-f']);
  const left = execFileSync('find', [cli.images, '-type', 'f', '-printf', '%P\n'], {
    encoding: 'utf8',
  });
  assert.deepEqual(left.trim().split('\n').sort(), ['images.json', 'lock']);
});

/** Does `work` with a file system of a given size where the store is. */
async function withSmallDisk(
  cli: ContainerCli,
  kibibytes: number,
  work: (path: string) => Promise<void>,
): Promise<void> {
  const path = cli.env['TSVM_DATA_FOLDER'] ?? '';
  mkdirSync(path);
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${kibibytes}k`, 'tmpfs', path]);
  try {
    await work(path);
  } finally {
    execFileSync('umount', ['--lazy', path]);
  }
}

test('a full disk in each step of pull, load and import', async (t) => {
  const image = testImage();
  const { host } = await startHostileRegistry(t, image, {});
  const folder = temporaryFolder(t);
  writeLayout(folder, image);
  const layer = join(folder, 'blobs/sha256', image.layers[0]?.digest.slice(7) ?? '');
  let failures = 0;
  for (const command of [
    ['pull', '-q', `${host}/x/y:1`],
    ['load', '-i', folder],
    ['import', layer],
  ]) {
    for (const kibibytes of [
      40, 48, 56, 64, 100, 600, 1200, 2000, 2600, 3600, 4800, 6000, 6300, 6320, 6332, 6340, 6348,
    ]) {
      await t.test(`${command[0]} with ${kibibytes} KiB`, async (sub) => {
        const cli = containerCli(sub);
        await withSmallDisk(cli, kibibytes, async (path) => {
          const { code, stderr } = await cli.run(command);
          assert.deepEqual(existsSync(cli.images) ? storeFaults(cli.images) : [], []);
          if (code !== 0) {
            failures++;
            assert.equal(code, 1);
            assert.match(stderr, /no space left on device in .*tsvm image prune/);
          }
          execFileSync('mount', ['-o', 'remount,size=64m', path]);
          await cli.ok(command);
          assertWhole(cli.images, 'with room again');
        });
      });
    }
  }
  assert.ok(failures > 20, `${failures} runs met a full disk`);
});

test('save to a full disk leaves no file', async (t) => {
  const cli = containerCli(t);
  const layout = join(cli.folder, 'layout');
  mkdirSync(layout);
  const image = testImage();
  writeLayout(layout, image);
  await cli.ok(['load', '-i', layout]);
  const small = join(cli.folder, 'small');
  mkdirSync(small);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=500k', 'tmpfs', small]);
  try {
    writeFileSync(join(small, 'fridge.tar'), 'what was there');
    const { code, stderr } = await cli.run(['save', '-o', join(small, 'fridge.tar'), image.config]);
    assert.equal(code, 1);
    assert.match(stderr, /fridge\.tar cannot be written: ENOSPC/);
    assert.equal(execFileSync('ls', ['-A', small], { encoding: 'utf8' }), 'fridge.tar\n');
    assert.equal(
      execFileSync('cat', [join(small, 'fridge.tar')], { encoding: 'utf8' }),
      'what was there',
    );
  } finally {
    execFileSync('umount', ['--lazy', small]);
  }
});
