/** Tags of memory statistics by their number: virtio 1.2, section 5.5.6.4, and Linux's virtio_balloon.h. */
const TAGS = [
  'swapInBytes',
  'swapOutBytes',
  'majorFaults',
  'minorFaults',
  'freeBytes',
  'totalBytes',
  'availableBytes',
  'cacheBytes',
  'hugePageAllocations',
  'hugePageFailures',
  'oomKills',
  'allocationStalls',
  'backgroundScannedPages',
  'directScannedPages',
  'backgroundReclaimedPages',
  'directReclaimedPages',
] as const;

/** Memory statistics of a guest; it may leave any of them out. */
export type BalloonStatistics = Readonly<Partial<Record<(typeof TAGS)[number], number>>>;

/** `struct virtio_balloon_stat`: le16 tag, le64 val, packed. */
const STAT_BYTES = 10;

/** Reads what a guest has sent. Unknown tags, values from 2^53 on and a cut end are left out. */
export function parseStatistics(bytes: Uint8Array): BalloonStatistics {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const statistics: Partial<Record<(typeof TAGS)[number], number>> = {};
  for (let at = 0; at + STAT_BYTES <= bytes.byteLength; at += STAT_BYTES) {
    const tag = TAGS[view.getUint16(at, true)];
    const value = view.getUint32(at + 2, true) + view.getUint32(at + 6, true) * 2 ** 32;
    if (tag !== undefined && Number.isSafeInteger(value)) statistics[tag] = value;
  }
  return statistics;
}
