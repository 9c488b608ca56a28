import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { replaceFile } from '../host/atomic-file.ts';
import { cacheFolder } from '../host/folders.ts';
import { makeFolders } from '../host/make-folders.ts';
import { type KvmHost, probeKvm } from '../kvm/host.ts';

/**
 * Identifies this boot of the host: the next one may have another KVM module. Undefined if /proc does
 * not have it, as in some sandboxes.
 */
function bootId(): string | undefined {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return undefined;
  }
}

/** The cached result, with the boot and the device that it is valid for. */
interface KnownHost {
  readonly bootId: string;
  readonly devicePath: string;
  readonly host: KvmHost;
}

function isKnownHost(value: unknown): value is KnownHost {
  const known = value as Partial<KnownHost> | null;
  return (
    typeof known?.bootId === 'string' &&
    typeof known.devicePath === 'string' &&
    typeof known.host?.emulatesKernelMode === 'boolean' &&
    typeof known.host.interpreterWorks === 'boolean'
  );
}

function readKnown(file: string): KnownHost | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'));
    return isKnownHost(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The kind of KVM of this host. It is probed once per boot of the host and cached in the user's cache
 * folder. Without a boot id or a writable cache, each start probes again.
 * @throws TsvmError `kvm-unavailable`
 */
export function hostProfile(devicePath: string): KvmHost {
  const folder = cacheFolder();
  if (folder === undefined) return probeKvm(devicePath);
  const file = join(folder, 'kvm-host.json');
  const boot = bootId();
  if (boot === undefined) return probeKvm(devicePath);
  const known = readKnown(file);
  if (known?.bootId === boot && known.devicePath === devicePath) return known.host;
  const host = probeKvm(devicePath);
  try {
    makeFolders(folder, 0o700);
    const knownHost: KnownHost = { bootId: boot, devicePath, host };
    replaceFile(file, JSON.stringify(knownHost));
  } catch {
    // A read-only home folder or a full disk: the next start probes again.
  }
  return host;
}
