import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { ImageStore } from '../../vmm/container/store/image-store.ts';
import { hostFiles } from '../../vmm/host/host-files.ts';
import { temporaryFolder } from './tsvm-process.ts';

/** An empty image store that exists as long as the test. */
export function ownStore(test: TestContext): ImageStore {
  return new ImageStore(join(temporaryFolder(test), 'images'), hostFiles());
}

/** Errors in a store's files: content that does not match its name, unfinished files. */
export function storeFaults(folder: string): string[] {
  const faults: string[] = [];
  for (const kind of ['blobs', 'layers']) {
    for (const algorithm of list(join(folder, kind))) {
      for (const hex of list(join(folder, kind, algorithm))) {
        const bytes = readFileSync(join(folder, kind, algorithm, hex));
        const found = createHash(algorithm).update(bytes).digest('hex');
        if (found !== hex) faults.push(`${kind}/${hex} has the digest ${found}`);
      }
    }
  }
  return [...faults, ...list(join(folder, 'tmp')).map((name) => `tmp/${name} was left behind`)];
}

function list(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}
