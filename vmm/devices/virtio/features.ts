/**
 * Feature bits (virtio 1.2, sections 2.2 and 6) as one 64-bit `bigint`: they are used only while a
 * driver starts. Transports present them as two 32-bit words.
 */
export const VIRTIO_F_INDIRECT_DESC = 1n << 28n;
/** Called VIRTIO_RING_F_EVENT_IDX by Linux. */
export const VIRTIO_F_EVENT_IDX = 1n << 29n;
export const VIRTIO_F_VERSION_1 = 1n << 32n;

/** Features of the virtqueue implementation, the same for every device. */
export const QUEUE_FEATURES = VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;

/** Bits `select * 32` to `select * 32 + 31`; there are none beyond bit 63. */
export function featuresWord(features: bigint, select: number): number {
  if (select > 1) return 0;
  return Number(BigInt.asUintN(32, features >> BigInt(select * 32)));
}

/** `features` with one of its two 32-bit words replaced. */
export function replaceFeaturesWord(features: bigint, select: 0 | 1, word: number): bigint {
  const shift = BigInt(select * 32);
  return (features & ~(0xffffffffn << shift)) | (BigInt(word) << shift);
}

/** Why `accepted` is refused, as text for users; undefined if it is valid. */
export function featuresRefusal(offered: bigint, accepted: bigint): string | undefined {
  const unoffered = accepted & ~offered;
  // "The driver MUST NOT accept a feature which the device did not offer" (2.2.1).
  if (unoffered !== 0n) return `features 0x${unoffered.toString(16)} were not offered`;
  // "A device MAY fail to operate further if VIRTIO_F_VERSION_1 is not accepted" (6.2).
  if ((accepted & VIRTIO_F_VERSION_1) === 0n) return 'VIRTIO_F_VERSION_1 was not accepted';
  return undefined;
}
