/** virtio-mem plugs and unplugs memory in blocks of this size: that of a large page. */
export const MEM_BLOCK_BYTES = 2 * 2 ** 20;
