import { TsvmError } from '../../../../../errors.ts';

/** The encoding of refcounts in a refcount block: "Refcount block entry". */
export interface RefcountWidth {
  /** The highest refcount that fits. */
  readonly max: number;
  get(view: DataView, index: number): number;
  set(view: DataView, index: number, refcount: number): void;
}

const WORD = 2 ** 32;

/** @param bits 1, 2, 4, 8, 16, 32 or 64 */
export function refcountWidth(bits: number): RefcountWidth {
  switch (bits) {
    case 8:
      return {
        max: 0xff,
        get: (view, index) => view.getUint8(index),
        set: (view, index, refcount) => view.setUint8(index, refcount),
      };
    case 16:
      return {
        max: 0xffff,
        get: (view, index) => view.getUint16(index * 2),
        set: (view, index, refcount) => view.setUint16(index * 2, refcount),
      };
    case 32:
      return {
        max: 0xffff_ffff,
        get: (view, index) => view.getUint32(index * 4),
        set: (view, index, refcount) => view.setUint32(index * 4, refcount),
      };
    case 64:
      return { max: Number.MAX_SAFE_INTEGER, get: get64, set: set64 };
    default:
      return packedWidth(bits);
  }
}

/** "If refcount_bits implies a sub-byte width, bit 0 means the least significant bit." */
function packedWidth(bits: number): RefcountWidth {
  const perByte = 8 / bits;
  const max = 2 ** bits - 1;
  return {
    max,
    get: (view, index) =>
      (view.getUint8(Math.floor(index / perByte)) >> ((index % perByte) * bits)) & max,
    set: (view, index, refcount) => {
      const at = Math.floor(index / perByte);
      const shift = (index % perByte) * bits;
      view.setUint8(at, (view.getUint8(at) & ~(max << shift)) | (refcount << shift));
    },
  };
}

function get64(view: DataView, index: number): number {
  const refcount = view.getUint32(index * 8) * WORD + view.getUint32(index * 8 + 4);
  if (!Number.isSafeInteger(refcount)) {
    throw new TsvmError('invalid-disk', `a refcount block says ${refcount} for a cluster`);
  }
  return refcount;
}

function set64(view: DataView, index: number, refcount: number): void {
  view.setUint32(index * 8, Math.floor(refcount / WORD));
  view.setUint32(index * 8 + 4, refcount >>> 0);
}
