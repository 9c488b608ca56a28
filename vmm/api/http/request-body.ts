import type { IncomingMessage } from 'node:http';
import { ApiError } from './operation.ts';

const BODY_MAX_BYTES = 64 * 1024;

/** @throws ApiError `request-too-large`; `invalid-request` when the connection is lost */
export async function readBody(request: IncomingMessage): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    // Not destroyed when the loop ends early, because the client must still get the answer.
    for await (const chunk of request.iterator({
      destroyOnReturn: false,
    }) as AsyncIterable<Uint8Array>) {
      bytes += chunk.byteLength;
      if (bytes > BODY_MAX_BYTES) break;
      chunks.push(chunk);
    }
  } catch {
    throw new ApiError('invalid-request', 'the body is incomplete');
  }
  if (bytes > BODY_MAX_BYTES) {
    throw new ApiError('request-too-large', `the body is longer than ${BODY_MAX_BYTES} bytes`);
  }
  return Buffer.concat(chunks);
}
