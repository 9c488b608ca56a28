import type { Duplex } from 'node:stream';

/** Joins two connections, each direction with flow control and an end of its own. */
export function joinStreams(one: Duplex, other: Duplex): void {
  one.pipe(other);
  other.pipe(one);
  for (const [stream, peer] of [
    [one, other],
    [other, one],
  ] as const) {
    // A connection that fails, also with a refusal, takes the other with it.
    stream.once('error', () => peer.destroy());
    stream.once('close', () => {
      if (!stream.readableEnded) peer.destroy();
    });
  }
}
