import { resolve } from 'node:path';
import { Virtiofsd } from '../../backends/fs/virtiofsd.ts';
import { FS_QUEUE_COUNT, fsConfig, VIRTIO_ID_FS } from '../../devices/virtio/fs/fs-config.ts';
import { errorText, TsvmError } from '../../errors.ts';
import { RateLimit } from '../../observability/rate-limit.ts';
import type { Assembly } from '../assembly.ts';
import type { ResolvedShare } from '../share-config.ts';
import { attachVhostUser } from './vhost-user.ts';

/**
 * Linux transfers as many pages in a request as the queue has descriptors, less a few: 1 MiB, which
 * is the most that it ever does.
 */
const QUEUE_SIZE = 512;

export async function attachShares(assembly: Assembly): Promise<void> {
  for (const [index, share] of assembly.config.shares.entries()) {
    await attachShare(assembly, `share${index}`, share);
  }
}

async function attachShare(assembly: Assembly, id: string, share: ResolvedShare): Promise<void> {
  const { logger } = assembly.host;
  const path = resolve(share.path);
  const limit = new RateLimit();
  const said: string[] = [];
  let attached = false;
  const virtiofsd = new Virtiofsd({ path, readOnly: share.readOnly }, (line) => {
    if (attached) limit.log(logger.warn, `${share.path}: virtiofsd: ${line}`);
    else said.push(line);
  });
  try {
    await attachVhostUser(assembly, {
      id,
      deviceId: VIRTIO_ID_FS,
      features: 0n,
      queueCount: FS_QUEUE_COUNT,
      queueSize: QUEUE_SIZE,
      config: fsConfig(share.tag),
      launch: () => virtiofsd.launch(),
    });
  } catch (cause) {
    const text = said.length > 0 ? said.join('; ') : errorText(cause);
    throw new TsvmError('backend-failed', `the folder ${share.path} cannot be shared: ${text}`, {
      cause,
    });
  }
  attached = true;
}
