import { type Digest, digestAlgorithm, digestHex } from '../digest.ts';

/** Where a blob is in an archive: OCI image-spec, "Image Layout". */
export function blobName(digest: Digest): string {
  return `blobs/${digestAlgorithm(digest)}/${digestHex(digest)}`;
}
