/** Pushes blobs and manifests: OCI distribution-spec, "Push". */
import { open } from 'node:fs/promises';
import { TsvmError } from '../../errors.ts';
import type { Digest } from '../digest.ts';
import type { Descriptor } from '../manifest.ts';
import { expectStatus, pullScope, pushScope, type RegistryClient } from './registry-client.ts';
import { drain, type HttpAnswer, headerText, resolveUrl } from './registry-http.ts';

/** A piece is sent again as a whole when it fails. */
const CHUNK_BYTES = 16 * 2 ** 20;

export type UploadOutcome = 'present' | 'mounted' | 'uploaded';

export interface BlobUpload {
  readonly repository: string;
  readonly blob: Pick<Descriptor, 'digest' | 'size'>;
  /** The blob's file. */
  readonly path: string;
  /** Repositories of the same registry that have it, or had. */
  readonly mountFrom: readonly string[];
  readonly onProgress: (bytes: number) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Uploads a blob to a registry, unless it exists there or can be mounted. */
export async function uploadBlob(
  client: RegistryClient,
  upload: BlobUpload,
): Promise<UploadOutcome> {
  const { repository, blob, signal, mountFrom } = upload;
  const head = await client.api(`${repository}/blobs/${blob.digest}`, {
    method: 'HEAD',
    scope: pushScope(repository),
    signal,
  });
  await drain(head.answer);
  if (head.answer.statusCode === 200) return 'present';
  for (const from of mountFrom.filter((name) => name !== repository)) {
    const mounted = await startUpload(client, upload, from);
    if (mounted === 'mounted') return mounted;
    await sendBlob(client, upload, mounted);
    return 'uploaded';
  }
  const location = await startUpload(client, upload);
  if (location === 'mounted') return location;
  await sendBlob(client, upload, location);
  return 'uploaded';
}

/** @returns where to send it, unless it could be mounted */
async function startUpload(
  client: RegistryClient,
  { repository, blob, signal }: BlobUpload,
  from?: string,
): Promise<URL | 'mounted'> {
  const query = from === undefined ? '' : `?${new URLSearchParams({ mount: blob.digest, from })}`;
  const scopes = [pushScope(repository), ...(from === undefined ? [] : [pullScope(from)])];
  const { answer, url } = await client.api(`${repository}/blobs/uploads/${query}`, {
    method: 'POST',
    scope: scopes.join(' '),
    headers: { 'content-length': '0' },
    signal,
  });
  await expectStatus(answer, from === undefined ? [202] : [201, 202], url);
  await drain(answer);
  return answer.statusCode === 201 ? 'mounted' : locationOf(answer, url);
}

function locationOf(answer: HttpAnswer, url: URL): URL {
  const location = headerText(answer, 'location');
  if (location !== undefined) return resolveUrl(location, url);
  throw new TsvmError('registry-failed', `${url.host} gives no address for the upload of a blob`);
}

async function sendBlob(
  client: RegistryClient,
  { repository, blob, path, onProgress, signal }: BlobUpload,
  start: URL,
): Promise<void> {
  const scope = pushScope(repository);
  const file = await open(path, 'r');
  let location = start;
  try {
    const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, blob.size));
    for (let offset = 0; offset < blob.size; ) {
      const { bytesRead } = await file.read(chunk, 0, chunk.length, offset);
      if (bytesRead === 0) throw new TsvmError('store-failed', `${path} is damaged: too short`);
      const { answer, url } = await client.api(location.href, {
        method: 'PATCH',
        scope,
        headers: {
          'content-type': 'application/octet-stream',
          'content-range': `${offset}-${offset + bytesRead - 1}`,
        },
        body: chunk.subarray(0, bytesRead),
        signal,
      });
      // The answer to a piece was lost, and it is there.
      const isThere = answer.statusCode === 416;
      if (!isThere) await expectStatus(answer, [202], url);
      await drain(answer);
      if (!isThere || answer.headers['location']) location = locationOf(answer, url);
      offset += bytesRead;
      onProgress(offset);
    }
  } finally {
    await file.close();
  }
  location.searchParams.set('digest', blob.digest);
  const { answer, url } = await client.api(location.href, {
    method: 'PUT',
    scope,
    headers: { 'content-length': '0', 'content-type': 'application/octet-stream' },
    signal,
  });
  await expectStatus(answer, [201], url);
  await drain(answer);
}

/** Uploads the manifest of an image whose blobs have been uploaded. */
export async function uploadManifest(
  client: RegistryClient,
  repository: string,
  tag: string,
  manifest: { readonly bytes: Uint8Array; readonly mediaType: string; readonly digest: Digest },
  signal?: AbortSignal,
): Promise<void> {
  const { answer, url } = await client.api(`${repository}/manifests/${tag}`, {
    method: 'PUT',
    scope: pushScope(repository),
    headers: { 'content-type': manifest.mediaType },
    body: manifest.bytes,
    signal,
  });
  await expectStatus(answer, [201], url);
  await drain(answer);
  const stated = headerText(answer, 'docker-content-digest');
  if (stated === undefined || stated === manifest.digest) return;
  throw new TsvmError(
    'registry-failed',
    `${url.host} stored the manifest as ${stated} instead of ${manifest.digest}`,
  );
}
