/**
 * The length of a zstd frame: RFC 8878, section 3.1.1. The decoder of `node:zlib` accepts only
 * frames, but what holds one may be longer: the last sector of a compressed cluster of qcow2 has bytes
 * of the next one, an extent of btrfs is padded.
 */

/** "Magic_Number". */
const MAGIC = 0xfd2fb528;
/** "Dictionary_ID_Flag" → bytes of the Dictionary_ID. */
const DICTIONARY_ID_BYTES = [0, 1, 2, 4] as const;
/** "Frame_Content_Size_Flag" → bytes of the Frame_Content_Size, when there is a window descriptor. */
const CONTENT_SIZE_BYTES = [0, 2, 4, 8] as const;
const BLOCK_HEADER_BYTES = 3;
const BLOCK_RLE = 1;
const BLOCK_RESERVED = 3;
const CHECKSUM_BYTES = 4;

/**
 * The length of the frame at the start of `bytes`, in bytes.
 * @throws RangeError when there is none, or it is incomplete
 */
export function zstdFrameBytes(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 5 || view.getUint32(0, true) !== MAGIC) {
    throw new RangeError('it is not a zstd frame');
  }
  const descriptor = view.getUint8(4);
  let end = 5 + frameHeaderBytes(descriptor);
  let last = false;
  while (!last) {
    if (end + BLOCK_HEADER_BYTES > bytes.length)
      throw new RangeError('the zstd frame is truncated');
    const header = view.getUint16(end, true) | (view.getUint8(end + 2) << 16);
    const type = (header >> 1) & 3;
    if (type === BLOCK_RESERVED) throw new RangeError('a zstd block is of the reserved type');
    last = (header & 1) !== 0;
    end += BLOCK_HEADER_BYTES + (type === BLOCK_RLE ? 1 : header >> 3);
  }
  const hasChecksum = (descriptor & 4) !== 0;
  if (hasChecksum) end += CHECKSUM_BYTES;
  if (end > bytes.length) throw new RangeError('the zstd frame is truncated');
  return end;
}

/** The fields after the "Frame_Header_Descriptor". */
function frameHeaderBytes(descriptor: number): number {
  const singleSegment = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >> 6;
  const contentSizeBytes =
    singleSegment && sizeFlag === 0 ? 1 : (CONTENT_SIZE_BYTES[sizeFlag] ?? 0);
  const windowBytes = singleSegment ? 0 : 1;
  return windowBytes + (DICTIONARY_ID_BYTES[descriptor & 3] ?? 0) + contentSizeBytes;
}
