import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type KvmHost, probeKvm } from '../kvm/host.ts';
import { cacheFolder } from '../util/cache-folder.ts';

/** Identifies this boot of the host: another boot may come with another KVM module. */
function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

function isKvmHost(value: unknown): value is KvmHost {
  return (
    typeof value === 'object' &&
    value !== null &&
    'emulatesKernelMode' in value &&
    typeof value.emulatesKernelMode === 'boolean'
  );
}

function readKnown(file: string): KvmHost | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'));
    return isKvmHost(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Which kind of KVM this host has. Probed once a boot of the host and remembered in the user's
 * cache; a cache that cannot be written only means probing again.
 * @throws TsvmError `kvm-unavailable`
 */
export function hostProfile(devicePath: string): KvmHost {
  const folder = cacheFolder();
  const file = join(folder, `host-${bootId()}-${basename(devicePath)}.json`);
  const known = readKnown(file);
  if (known !== undefined) return known;
  const host = probeKvm(devicePath);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const draft = `${file}.${process.pid}`;
    writeFileSync(draft, JSON.stringify(host), { mode: 0o600 });
    renameSync(draft, file);
  } catch {
    // A read-only home folder: the next start probes again.
  }
  return host;
}
