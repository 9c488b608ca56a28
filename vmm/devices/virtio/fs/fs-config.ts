import { ConfigSpace } from '../config-space.ts';

export const VIRTIO_ID_FS = 26;

/** `struct virtio_fs_config` (virtio 1.2, section 5.11.4). */
const CONFIG_BYTES = 44;
/** UTF-8, padded with zeroes. */
export const FS_TAG_BYTES_MAX = 36;
const NUM_REQUEST_QUEUES = { offset: FS_TAG_BYTES_MAX, width: 4 } as const;

/** High-priority, and one for requests (5.11.2). */
export const FS_QUEUE_COUNT = 2;

/** Of a file system device. @param tag 1 to {@link FS_TAG_BYTES_MAX} bytes */
export function fsConfig(tag: string): ConfigSpace {
  const config = new ConfigSpace(CONFIG_BYTES);
  for (const [offset, byte] of Buffer.from(tag).entries()) config.set({ offset, width: 1 }, byte);
  config.set(NUM_REQUEST_QUEUES, FS_QUEUE_COUNT - 1);
  return config;
}
