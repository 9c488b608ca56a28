import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { test } from 'node:test';
import type { RunKind } from '../../../../../vmm/backends/disk/image/image.ts';
import {
  type Claim,
  resolveScriptRequests,
  type ScriptRequest,
} from '../../../../../vmm/backends/disk/machine/disk.ts';
import { ImageDisk } from '../../../../../vmm/backends/disk/machine/image-disk.ts';
import { TsvmError } from '../../../../../vmm/errors.ts';
import { FakeDisk, scriptRequest } from '../../../../support/fake-disk.ts';
import { FakeImage } from '../../../../support/fake-image.ts';

const K4 = 4096;
const K64 = 65_536;

/** A disk that notes, among the image's events, what a backend tells it. */
class NotingDisk extends FakeDisk {
  readonly events: string[];
  readonly errors: unknown[] = [];
  /** Of withdrawals, while they are held. */
  readonly quiet: (() => void)[] = [];
  holdsWithdrawals = false;

  constructor(events: string[]) {
    super();
    this.events = events;
  }

  override setScripted(scripted: { flush: boolean; discard: boolean; writeZeroes: boolean }): void {
    this.events.push(`scripted ${scripted.flush}`);
  }

  override pushExtents(extents: FakeDisk['extents']): void {
    this.extents.push(...extents);
    const parts = extents.map((it) => {
      const zero = it.readOnly ? 'zero' : 'claimable';
      const what = it.zero ? zero : `${it.readOnly ? 'read' : 'write'}@${it.fdOffset / K4}`;
      return ` ${it.offset / K4}+${it.length / K4} ${what}`;
    });
    this.events.push(`push${parts.join()}`);
  }

  override async withdrawExtents(offset = 0, length = 0): Promise<void> {
    this.events.push(`withdraw ${offset} ${length}`);
    if (this.holdsWithdrawals) await new Promise<void>((resolve) => this.quiet.push(resolve));
  }

  override retry(id: number): void {
    this.events.push(`retry ${id}`);
  }

  override finish(id: number, errno: number, data?: Uint8Array): void {
    this.events.push(`finish ${id} ${errno}`);
    super.finish(id, errno, data);
  }
}

interface Setup {
  readonly image: FakeImage;
  readonly backend: ImageDisk;
  readonly disk: NotingDisk;
  readonly events: string[];
  /** Hands requests over in one batch, and waits until those that can be answered are. */
  serve(...requests: ScriptRequest[]): Promise<void>;
}

function setUp(
  kinds: readonly RunKind[],
  options: {
    backing?: FakeImage;
    temporary?: boolean;
    extentsMax?: number;
    clusterBytes?: number;
    canReserve?: boolean;
  } = {},
): Setup {
  const { temporary = false, ...more } = options;
  const events: string[] = [];
  const image = new FakeImage(kinds, { ...more, events });
  const backend = new ImageDisk(image, { temporary, close: () => {}, ...more });
  const disk = new NotingDisk(events);
  backend.attach(disk);
  const serve = async (...requests: ScriptRequest[]) => {
    disk.requests = requests;
    resolveScriptRequests(disk, backend, (error) => disk.errors.push(error));
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { image, backend, disk, events, serve };
}

test('nothing is mapped before it is asked for; a read maps what is around it, in few extents', async () => {
  const { events, serve } = setUp(['data', 'data', 'zero', 'unallocated', 'data']);
  assert.deepEqual(events, []);
  await serve(scriptRequest(1, 'read', K4, 512), scriptRequest(2, 'read', 0, 512));
  assert.deepEqual(events.splice(0), [
    'push 0+2 write@1, 2+2 zero, 4+1 write@5, 1+0.125 write@2, 0+0.125 write@1',
    'retry 1',
    'retry 2',
  ]);
  // Mapped before: only what was asked for.
  await serve(scriptRequest(3, 'read', 2 * K4, K4));
  assert.deepEqual(events, ['push 2+1 zero', 'retry 3']);
});

test('what a backing image has is read-only; past its end there are zeroes', async () => {
  const backing = new FakeImage(['data', 'zero']);
  const { events, serve } = setUp(['unallocated', 'unallocated', 'unallocated', 'data'], {
    backing,
  });
  await serve(scriptRequest(1, 'read', 0, 4 * K4));
  assert.match(events[0] ?? '', /^push 0\+1 read@1, 1\+2 zero, 3\+1 write@4, /);
});

test('first writes of a batch get adjoining places, in one extent; flushes are scripted before', async () => {
  const { events, serve } = setUp(['zero', 'zero', 'zero']);
  await serve(scriptRequest(1, 'read', 0, K4));
  events.length = 0;
  await serve(scriptRequest(2, 'write', 512, 512), scriptRequest(3, 'write', K4, K4));
  assert.deepEqual(events.splice(0, 3), [
    'prepare 512 512',
    `prepare ${K4} ${K4}`,
    'scripted true',
  ]);
  assert.match(events[0] ?? '', /, 0\+2 write@4$/);
  assert.deepEqual(events.slice(1), ['retry 2', 'retry 3']);
});

test('a write to a shared place waits until nothing uses that place', async () => {
  const { image, disk, events, serve } = setUp(['data', 'data']);
  for (const cluster of image.clusters) cluster.writable = false;
  disk.holdsWithdrawals = true;
  await serve(scriptRequest(1, 'write', K4, 512), scriptRequest(2, 'read', 0, 512));
  assert.deepEqual(events.splice(0), [`withdraw ${K4} ${K4}`]);
  disk.quiet.shift()?.();
  await serve();
  assert.deepEqual(events.slice(0, 2), [`prepare ${K4} 512`, 'scripted true']);
  assert.deepEqual(
    events.filter((event) => event.startsWith('retry')),
    ['retry 1', 'retry 2'],
  );
});

test('discards and zeroes: withdrawn, quiet, changed, in the order of their arrival', async () => {
  const { disk, events, serve } = setUp(['data', 'data', 'data']);
  disk.holdsWithdrawals = true;
  const zeroes = { ...scriptRequest(2, 'write-zeroes', 512, 512), mayUnmap: true };
  await serve(scriptRequest(1, 'discard', K4, K4), zeroes, scriptRequest(3, 'write', 0, 512));
  assert.deepEqual(events.splice(0), [`withdraw ${K4} ${K4}`, `withdraw 0 ${K4}`]);
  for (const release of disk.quiet.splice(0)) release();
  await serve();
  assert.deepEqual(
    events.filter((event) => !event.startsWith('push')),
    [`discard ${K4} ${K4}`, 'zero 512 512 true', 'scripted true'].concat([
      'finish 1 0',
      'finish 2 0',
      'prepare 0 512',
      'retry 3',
    ]),
  );
});

test('a flush is the image’s while metadata is dirty, once for all that came together', async () => {
  const { events, serve } = setUp(['zero']);
  await serve(scriptRequest(1, 'flush', 0, 0));
  assert.deepEqual(events.splice(0), ['retry 1']);
  await serve(scriptRequest(2, 'write', 0, 512));
  events.length = 0;
  await serve(scriptRequest(3, 'flush', 0, 0), scriptRequest(4, 'flush', 0, 0));
  assert.deepEqual(events, ['flush', 'scripted false', 'finish 3 0', 'finish 4 0']);
});

test('a flush of what is thrown away has nothing to do', async () => {
  const { events, serve } = setUp(['zero'], { temporary: true });
  await serve(scriptRequest(1, 'write', 0, 512), scriptRequest(2, 'flush', 0, 0));
  assert.ok(events.includes('finish 2 0'));
  assert.ok(!events.includes('flush'));
});

test('an image that wants a flush gets it before it changes', async () => {
  const { image, events, serve } = setUp(['zero']);
  image.flushWanted = true;
  await serve(scriptRequest(1, 'write', 0, 512));
  assert.deepEqual(events.slice(0, 2), ['flush', 'prepare 0 512']);
});

test('a failure affects only its request, with its errno; the next request succeeds', async () => {
  const { image, disk, serve } = setUp(['zero', 'zero']);
  const cause = Object.assign(new Error('no space'), { errno: -constants.errno.ENOSPC });
  image.failure = new TsvmError('disk-io', 'the host’s disk is full', { cause });
  await serve(scriptRequest(1, 'write', 0, 512), scriptRequest(2, 'discard', 0, K4));
  image.metadataDirty = true;
  await serve(scriptRequest(3, 'flush', 0, 0));
  image.failure = new TsvmError('invalid-disk', 'a table lies');
  await serve(scriptRequest(4, 'write', 0, 512));
  assert.deepEqual(
    disk.finishes.map(({ id, errno }) => [id, errno]),
    [
      [1, constants.errno.ENOSPC],
      [2, constants.errno.ENOSPC],
      [3, constants.errno.ENOSPC],
      [4, constants.errno.EIO],
    ],
  );
  assert.equal(disk.errors.length, 4);
  image.failure = undefined;
  await serve(scriptRequest(5, 'write', 0, 512));
  assert.equal(disk.events.at(-1), 'retry 5');
});

test('compressed clusters have no extents: they are read through the image', async () => {
  const { disk, serve } = setUp(['zero', 'compressed', 'data'], { clusterBytes: K64 });
  const read = (id: number, at: number, length: number) => scriptRequest(id, 'read', at, length);
  await serve(...Array.from({ length: 16 }, (_, n) => read(n, K64 + n * K4, K4)));
  assert.equal(disk.finishes.length, 16);
  assert.ok(disk.finishes.every(({ data }) => data?.length === K4 && data.every((it) => it === 2)));
});

test('a read that exceeds the memory for reads fails', async () => {
  const clusters = Array.from({ length: 40 }, () => 'compressed' as const);
  const { disk, serve } = setUp(clusters, { clusterBytes: 2 ** 21 });
  await serve(scriptRequest(1, 'read', 0, 40 * 2 ** 21));
  assert.deepEqual([disk.finishes[0]?.errno], [constants.errno.EIO]);
});

test('when extents become too many, those mapped longest ago are withdrawn', async () => {
  // No two adjoin, in three spans.
  const clusters = Array.from({ length: 3 * 1024 }, (_, n) => (n % 2 === 0 ? 'zero' : 'data'));
  const { events, serve } = setUp(clusters as RunKind[], { extentsMax: 2500 });
  for (const span of [0, 1, 2]) await serve(scriptRequest(span, 'read', span * 1024 * K4, 512));
  assert.deepEqual(
    events.filter((event) => !event.startsWith('push')),
    ['retry 0', 'retry 1', `withdraw 0 ${1024 * K4}`, 'retry 2'],
  );
});

test('a long write is made writable step by step', async () => {
  const clusters = Array.from({ length: 10 }, () => 'zero' as const);
  const { events, serve } = setUp(clusters, { clusterBytes: 2 ** 21 });
  await serve(scriptRequest(1, 'write', 0, 10 * 2 ** 21));
  assert.equal(events[0], `prepare 0 ${2 ** 24}`);
  assert.equal(events.at(-1), 'retry 1');
});

/** A disk whose stock the test claims from. */
function setUpClaiming(kinds: readonly RunKind[]): Setup & { claim(...claims: Claim[]): void } {
  const setup = setUp(kinds, { canReserve: true });
  const { disk, events } = setup;
  let claims: Claim[] = [];
  disk.addStock = (_fd: number, unit: number, at: number, bytes: number) => {
    events.push(`stock ${at / unit}+${bytes / unit}`);
  };
  disk.setClaiming = (allowed: boolean) => {
    events.push(`claiming ${allowed}`);
  };
  disk.takeClaims = () => claims.splice(0);
  const claim = (...taken: Claim[]) => {
    claims = taken;
  };
  return { ...setup, claim };
}

test('first writes to zeroes fill the stock, and continue once they may claim from it', async () => {
  const { events, serve } = setUpClaiming(['zero', 'zero', 'data']);
  await serve(scriptRequest(1, 'write', 512, K4));
  assert.deepEqual(events, [
    'reserve 32',
    'claiming false',
    'stock 4+32',
    'scripted true',
    'push 0+2 claimable, 2+1 write@3, 0+2 claimable',
    'claiming true',
    'retry 1',
  ]);
});

test('claims are applied before anything else is decided', async () => {
  const { events, serve, claim } = setUpClaiming(['zero', 'zero', 'zero']);
  await serve(scriptRequest(1, 'write', 0, K4));
  events.length = 0;
  claim({ offset: K4, length: K4, fdOffset: 4 * K4 });
  await serve(scriptRequest(2, 'read', K4, K4));
  assert.deepEqual(events.splice(0), [
    'claim 1+1',
    'claiming false',
    'push 1+1 write@4',
    'claiming true',
    'retry 2',
  ]);
  claim({ offset: 0, length: K4, fdOffset: 5 * K4 });
  await serve(scriptRequest(3, 'flush', 0, 0));
  assert.deepEqual(
    events.filter((event) => !event.startsWith('claiming')),
    ['claim 0+1', 'flush', 'scripted false', 'finish 3 0'],
  );
});

test('flushes are scripted before claims are taken', async () => {
  const { events, serve, claim } = setUpClaiming(['zero', 'zero']);
  await serve(scriptRequest(1, 'write', 0, K4), scriptRequest(2, 'flush', 0, 0));
  events.length = 0;
  claim({ offset: 0, length: K4, fdOffset: 3 * K4 });
  await serve();
  assert.deepEqual(events, ['scripted true', 'claim 0+1']);
});

test('the stock is refilled with twice as many clusters when half are used', async () => {
  const kinds = Array.from({ length: 64 }, () => 'zero' as const);
  const { events, serve, claim } = setUpClaiming(kinds);
  await serve(scriptRequest(1, 'write', 0, K4));
  events.length = 0;
  claim({ offset: 0, length: 15 * K4, fdOffset: 65 * K4 });
  await serve();
  assert.deepEqual(events.splice(0), ['claim 0+15']);
  claim({ offset: 15 * K4, length: K4, fdOffset: 80 * K4 });
  await serve();
  assert.deepEqual(events.splice(0), ['claim 15+1', 'reserve 48', 'stock 97+48']);
});

test('a claim that the image refuses fails later requests and is reported again', async () => {
  const { image, disk, events, serve, claim } = setUpClaiming(['zero', 'zero']);
  await serve(scriptRequest(1, 'write', 0, K4));
  claim({ offset: 0, length: K4, fdOffset: 3 * K4 });
  image.failure = new TsvmError('disk-io', 'a table cannot be read');
  await serve(scriptRequest(2, 'flush', 0, 0));
  assert.deepEqual(
    disk.finishes.map(({ id, errno }) => [id, errno]),
    [[2, constants.errno.EIO]],
  );
  image.failure = undefined;
  events.length = 0;
  await serve(scriptRequest(3, 'flush', 0, 0));
  assert.ok(events.includes('claim 0+1'));
  assert.equal(events.at(-1), 'finish 3 0');
});

test('what was not claimed is given back when the disk is detached', async () => {
  const { backend, events, serve, claim } = setUpClaiming(['zero', 'zero']);
  await serve(scriptRequest(1, 'write', 0, K4));
  events.length = 0;
  claim({ offset: 0, length: K4, fdOffset: 3 * K4 });
  backend.detach();
  assert.deepEqual(
    events.filter((event) => !event.startsWith('scripted')),
    ['claim 0+1', 'give back 4+31'],
  );
});
