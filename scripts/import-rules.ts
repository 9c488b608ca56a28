/** Which files may import which. `scripts/check-imports.ts` applies these rules. */

const BASE = ['vmm/util', 'vmm/errors.ts', 'vmm/observability'];

/**
 * TypeScript: folder or file → what it may import besides itself. The longest match counts. A type is
 * a dependency as much as a function is.
 */
export const TYPESCRIPT_RULES: Readonly<Record<string, readonly string[]>> = {
  'vmm/util': [],
  'vmm/errors.ts': [],
  'vmm/observability': ['vmm/util', 'vmm/errors.ts'],
  'vmm/host': ['vmm/util', 'vmm/errors.ts', 'kvm-addon'],
  'vmm/memory': BASE,
  'vmm/arch': [...BASE, 'vmm/memory'],
  'vmm/loader': [...BASE, 'vmm/host', 'vmm/memory'],
  'vmm/bus': [...BASE, 'vmm/memory'],
  'vmm/backends': [...BASE, 'vmm/host', 'vmm/memory'],
  // Files know no images, images know no machine.
  'vmm/backends/disk/file': ['vmm/util', 'vmm/errors.ts', 'vmm/host'],
  'vmm/backends/disk/image': ['vmm/util', 'vmm/errors.ts', 'vmm/host', 'vmm/backends/disk/file'],
  'vmm/devices': [...BASE, 'vmm/memory', 'vmm/bus'],
  // The typed handles of the addon carry out what buses, devices and backends declare.
  'vmm/kvm': [
    ...BASE,
    'vmm/host',
    'vmm/memory',
    'vmm/bus',
    'vmm/devices/virtio',
    'vmm/backends/disk',
    'kvm-addon',
  ],
  // Knows a machine by an interface of its own.
  'vmm/gdb': [...BASE, 'vmm/memory'],
  'vmm/machine': [
    ...BASE,
    'vmm/host',
    'vmm/memory',
    'vmm/arch',
    'vmm/loader',
    'vmm/bus',
    'vmm/backends',
    'vmm/devices',
    'vmm/gdb',
    'vmm/kvm',
  ],
  'vmm/container': [...BASE, 'vmm/host', 'vmm/machine', 'vmm/backends', 'vmm/api/machines'],
  // Where processes find each other; machines and containers both do it this way.
  'vmm/api/machines': [...BASE, 'vmm/host'],
  'vmm/api': [...BASE, 'vmm/host', 'vmm/machine', 'vmm/container'],
  'vmm/cli': [
    ...BASE,
    'vmm/host',
    'vmm/machine',
    'vmm/container',
    'vmm/api',
    'vmm/kvm',
    'vmm/backends',
    'guest-images/default-guest.ts',
  ],
  // The public API re-exports from everywhere.
  'vmm/index.ts': ['vmm'],
  // The addon's types refer to the interfaces it implements.
  'kvm-addon': ['vmm/backends/disk/machine/disk.ts'],
  'guest-images': ['vmm/util', 'vmm/host'],
  scripts: ['vmm/util', 'vmm/cli/programs.ts', 'vmm/cli/bundle.ts'],
  examples: ['vmm/index.ts'],
  test: ['vmm', 'guest-images', 'scripts', 'kvm-addon'],
};

/** Folders whose sub-folders do not know each other, except for the listed shared ones. */
export const SEPARATE_FOLDERS: Readonly<Record<string, readonly string[]>> = {
  'vmm/devices': ['vmm/devices/virtio'],
  'vmm/devices/virtio': ['vmm/devices/virtio/transport'],
};

/** Files with dynamic imports whose target is not a literal; each with the reason. */
export const UNKNOWN_IMPORTS: Readonly<Record<string, string>> = {
  'vmm/cli/main.ts': 'imports an entry of vmm/cli/programs.ts',
};

/** C: folder → other folders or headers that it may include. */
export const C_RULES: Readonly<Record<string, readonly string[]>> = {
  'kvm-addon/include': [],
  'kvm-addon/src/util': [],
  'kvm-addon/src/memory': ['kvm-addon/src/util'],
  'kvm-addon/src/bus': ['kvm-addon/include', 'kvm-addon/src/util'],
  'kvm-addon/src/kvm': ['kvm-addon/src/memory', 'kvm-addon/src/util'],
  'kvm-addon/src/sandbox': ['kvm-addon/src/util'],
  'kvm-addon/src/backend': ['kvm-addon/src/sandbox/sandbox.h', 'kvm-addon/src/util'],
  // Devices know neither KVM nor vCPUs.
  'kvm-addon/src/virtio': [
    'kvm-addon/src/backend',
    'kvm-addon/src/memory',
    'kvm-addon/src/sandbox/sandbox.h',
    'kvm-addon/src/util',
  ],
  'kvm-addon/src/emulator': ['kvm-addon/src/memory'],
  'kvm-addon/src/vcpu': [
    'kvm-addon/include',
    'kvm-addon/src/bus',
    'kvm-addon/src/emulator',
    'kvm-addon/src/kvm',
    'kvm-addon/src/memory',
    'kvm-addon/src/sandbox/sandbox.h',
    'kvm-addon/src/util',
    // What the vCPU threads need of the engine.
    'kvm-addon/src/pvm/cpuid.h',
    'kvm-addon/src/pvm/engine_api.h',
    'kvm-addon/src/pvm/state.h',
  ],
  'kvm-addon/src/pvm': [
    'kvm-addon/src/emulator',
    'kvm-addon/src/kvm',
    'kvm-addon/src/memory',
    'kvm-addon/src/util',
    'kvm-addon/src/vcpu',
  ],
  'kvm-addon/src/napi': ['kvm-addon/include', 'kvm-addon/src'],
  // Tables of test cases that several kinds of test share.
  'test/vectors': [],
  'kvm-addon/test': ['kvm-addon/include', 'kvm-addon/src', 'test/vectors'],
  'kvm-addon/test/agent': ['guest-images/agent', 'kvm-addon/test'],
  'guest-images/agent': [],
  'guest-images/payload': ['test/vectors'],
};

function isIn(path: string, place: string): boolean {
  return path === place || path.startsWith(`${place}/`);
}

/** The longest key of a table that `path` is in. */
function placeOf(table: object, path: string): string | undefined {
  return Object.keys(table)
    .filter((place) => isIn(path, place))
    .sort((a, b) => b.length - a.length)[0];
}

/** Whether the rules let one file refer to another. Both are paths in the repository. */
export function mayRefer(
  rules: Readonly<Record<string, readonly string[]>>,
  from: string,
  to: string,
): boolean {
  const place = placeOf(rules, from);
  if (place === undefined) return false;
  return isIn(to, place) || (rules[place] ?? []).some((allowed) => isIn(to, allowed));
}

/** Whether two files are in sub-folders that must not know each other. */
export function areSeparate(from: string, to: string): boolean {
  for (const [folder, shared] of Object.entries(SEPARATE_FOLDERS)) {
    const own = subfolder(folder, from);
    const other = subfolder(folder, to);
    if (own === undefined || other === undefined || own === other) continue;
    if (!shared.includes(own) && !shared.includes(other)) return true;
  }
  return false;
}

/** The sub-folder of `folder` that a file is in; undefined for files right in it or elsewhere. */
function subfolder(folder: string, path: string): string | undefined {
  if (!path.startsWith(`${folder}/`)) return undefined;
  const [name, ...rest] = path.slice(folder.length + 1).split('/');
  return rest.length === 0 ? undefined : `${folder}/${name}`;
}
