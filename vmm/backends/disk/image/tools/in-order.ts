import { TimeSlices } from '../../../../util/event-loop.ts';

/**
 * Starts up to `depth` pieces of work ahead and hands their results over in the order of the items.
 * When it ends early, by an error or because the caller leaves, it waits for what it has started:
 * nothing uses a file any more when it returns. Signals are heard meanwhile, though no work may wait.
 */
export async function* inOrder<Item, Result>(
  items: Iterable<Item>,
  depth: number,
  work: (item: Item) => Promise<Result>,
): AsyncGenerator<Result, void, undefined> {
  const started: Promise<Result>[] = [];
  const source = items[Symbol.iterator]();
  const slices = new TimeSlices();
  const startMore = (): void => {
    while (started.length < depth) {
      const next = source.next();
      if (next.done) return;
      const promise = work(next.value);
      // It is looked at when its turn comes: until then it is not unhandled.
      promise.catch(() => {});
      started.push(promise);
    }
  };
  try {
    startMore();
    for (let first = started.shift(); first !== undefined; first = started.shift()) {
      const result = await first;
      await slices.next();
      startMore();
      yield result;
    }
  } finally {
    await Promise.allSettled(started);
  }
}
