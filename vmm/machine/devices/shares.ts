import { realpathSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type SharedFolder, type SharedTree, Virtiofsd } from '../../backends/fs/virtiofsd.ts';
import { FS_QUEUE_COUNT, fsConfig, VIRTIO_ID_FS } from '../../devices/virtio/fs/fs-config.ts';
import { errorText, TsvmError } from '../../errors.ts';
import { runtimeFolder } from '../../host/folders.ts';
import { ensurePrivateFolder } from '../../host/private-folder.ts';
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
  const name =
    'path' in share ? `the folder ${share.path}` : share.entries.map(({ path }) => path).join(', ');
  const limit = new RateLimit();
  const said: string[] = [];
  let attached = false;
  try {
    const virtiofsd = new Virtiofsd(whatIsShared(share), (line) => {
      if (attached) limit.log(logger.warn, `${name}: virtiofsd: ${line}`);
      else said.push(line);
    });
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
    throw new TsvmError('backend-failed', `${name} cannot be shared: ${text}`, { cause });
  }
  attached = true;
}

function whatIsShared(share: ResolvedShare): SharedFolder | SharedTree {
  if ('path' in share) {
    const path = resolve(share.path);
    // virtiofsd would take a file, and end without a word.
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === false) {
      throw new TsvmError('invalid-config', 'it is not a folder: share the folder that it is in');
    }
    return { path, readOnly: share.readOnly };
  }
  const runtime = runtimeFolder();
  if (runtime === undefined) {
    throw new TsvmError('backend-failed', 'no folder for it: set XDG_RUNTIME_DIR');
  }
  // Always empty; each virtiofsd has its tree there in its own mount namespace.
  const mountPoint = join(runtime, 'share');
  ensurePrivateFolder(mountPoint);
  return {
    mountPoint: realpathSync(mountPoint),
    entries: share.entries.map(({ name, path, readOnly = false }) => {
      const kind = statSync(path).isDirectory() ? 'folder' : 'file';
      return { name, path: resolve(path), kind, readOnly };
    }),
  };
}
