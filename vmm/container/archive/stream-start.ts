export interface StreamStart {
  /** At least as many bytes as asked for, fewer only if the stream has no more. */
  readonly start: Uint8Array;
  /** The whole stream, `start` included. Can be read once. */
  readonly all: AsyncIterable<Uint8Array>;
}

/** Reads the first bytes of a stream, by which its format is known. */
export async function readStart(
  input: AsyncIterable<Uint8Array>,
  byteCount: number,
): Promise<StreamStart> {
  const chunks = input[Symbol.asyncIterator]();
  let start: Uint8Array = new Uint8Array(0);
  while (start.length < byteCount) {
    const next = await chunks.next();
    if (next.done) break;
    start = Buffer.concat([start, next.value]);
  }
  async function* all(): AsyncGenerator<Uint8Array> {
    yield start;
    for (let next = await chunks.next(); !next.done; next = await chunks.next()) yield next.value;
  }
  return { start, all: all() };
}
