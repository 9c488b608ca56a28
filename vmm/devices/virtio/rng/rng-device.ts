import { ConfigSpace } from '../config-space.ts';
import type { VirtioDevice } from '../device.ts';
import { QUEUE_FEATURES, VIRTIO_F_VERSION_1 } from '../features.ts';
import { type CreateQueueWorker, QueueWorkerDevice } from '../queue-worker.ts';

/** A driver keeps one or two buffers in the queue. */
const QUEUE_SIZE = 8;

/** An entropy device (virtio 1.2, section 5.4): one queue of buffers to fill. */
export class RngDevice extends QueueWorkerDevice implements VirtioDevice {
  readonly id: string;
  readonly deviceId = 4;
  readonly features = QUEUE_FEATURES | VIRTIO_F_VERSION_1;
  readonly queueSizes = [QUEUE_SIZE];
  readonly config = new ConfigSpace(0);

  constructor(options: { readonly id: string; readonly createWorker: CreateQueueWorker }) {
    super(options.createWorker);
    this.id = options.id;
  }
}
