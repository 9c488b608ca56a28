import { TimeSlices } from '../../../../util/event-loop.ts';

/**
 * Starts up to `depth` pieces of work ahead and yields their results in the order of the items.
 * When it ends early, by an error or because the caller stops, it waits for what was started:
 * afterwards nothing uses a file. The event loop runs in between, even when no work waits, so that
 * signals are handled.
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
      // Its rejection is handled when its turn comes.
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
