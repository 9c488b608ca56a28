/** The configuration is plain JSON: from a file, with defaults for what it leaves out. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TsvmError } from '../../../vmm/errors.ts';
import { CONFIG_DEFAULTS, resolveConfig } from '../../../vmm/machine/config.ts';

function refused(json: unknown, message: RegExp): void {
  assert.throws(
    () => resolveConfig(json as Parameters<typeof resolveConfig>[0]),
    (error) =>
      error instanceof TsvmError && error.code === 'invalid-config' && message.test(error.message),
    JSON.stringify(json),
  );
}

test('a kernel is all that must be named', () => {
  assert.deepEqual(resolveConfig({ kernelPath: 'k' }), { ...CONFIG_DEFAULTS, kernelPath: 'k' });
  assert.deepEqual(
    resolveConfig({ kernelPath: 'k', cpus: undefined, initrdPath: undefined }),
    { ...CONFIG_DEFAULTS, kernelPath: 'k' },
    'undefined is left out',
  );
});

test('defaults of disks; resolving is idempotent, also after a JSON round trip', () => {
  const config = resolveConfig({
    kernelPath: 'k',
    disks: [{ path: 'a.img' }, { path: 'b', format: 'qcow2', overlay: true }, { files: ['c'] }],
    cpus: 4,
  });
  assert.deepEqual(config.disks, [
    { path: 'a.img', readOnly: false, overlay: false, backing: 'same-folder' },
    { path: 'b', format: 'qcow2', readOnly: false, overlay: true, backing: 'same-folder' },
    { files: ['c'] },
  ]);
  assert.deepEqual(resolveConfig(config), config);
  assert.deepEqual(resolveConfig(JSON.parse(JSON.stringify(config))), config);
});

test('a vsock device has a CID that is not the host’s, and needs no socket file', () => {
  const vsock = (value: unknown) =>
    resolveConfig({ kernelPath: 'k', vsock: value } as Parameters<typeof resolveConfig>[0]).vsock;
  assert.deepEqual(vsock({}), { guestCid: 3 });
  assert.deepEqual(vsock({ socketPath: 'v', guestCid: 7 }), { socketPath: 'v', guestCid: 7 });
  for (const guestCid of [0, 1, 2, 3.5, 2 ** 32 - 1, 2 ** 32]) {
    refused({ kernelPath: 'k', vsock: { guestCid } }, /from 3 to 4294967294/);
  }
  refused({ kernelPath: 'k', vsock: { socketPath: '' } }, /empty path/);
  refused({ kernelPath: 'k', vsock: { cid: 3 } }, /socketPath, guestCid/);
  refused({ kernelPath: 'k', vsock: 'v.sock' }, /give an object/);
});

test('spare windows are a few, on machines with virtio-mmio and ACPI', () => {
  assert.equal(resolveConfig({ kernelPath: 'k', spareWindows: 8 }).spareWindows, 8);
  for (const spareWindows of [-1, 1.5, 9]) {
    refused({ kernelPath: 'k', spareWindows }, /from 0 to 8/);
  }
  refused({ kernelPath: 'k', spareWindows: 1, transport: 'pci' }, /need virtio-mmio and ACPI/);
  refused({ kernelPath: 'k', spareWindows: 1, acpi: false }, /need virtio-mmio and ACPI/);
});

test('shares have a folder and a tag of their own', () => {
  const shares = [
    { path: 'src', tag: 'src' },
    { path: 'src', tag: 'é'.repeat(18), readOnly: true },
  ];
  assert.deepEqual(resolveConfig({ kernelPath: 'k', shares }).shares, [
    { path: 'src', tag: 'src', readOnly: false },
    shares[1],
  ]);
  const share = (value: unknown) => ({ kernelPath: 'k', shares: [value] });
  refused(share({ tag: 't' }), /name the folder/);
  for (const tag of [undefined, '', 'x'.repeat(37), 'é'.repeat(19), 'a\0b']) {
    refused(share({ path: 'p', tag }), /a tag of 1 to 36 bytes/);
  }
  refused(share({ path: 'p', tag: 't', ro: true }), /path, tag, readOnly/);
  refused({ kernelPath: 'k', shares: [...shares, shares[0]] }, /two shares have the tag src/);
});

test('unknown keys and wrong types are refused with the valid ones', () => {
  refused({}, /kernelPath/);
  refused(null, /object/);
  refused([], /object/);
  refused({ kernelPath: 'k', memory: 5 }, /no "memory": there are kernelPath, .*memoryBytes/);
  refused({ kernelPath: 'k', __proto__: 1, constructor: 1 }, /no "constructor"/);
  refused({ kernelPath: 7 }, /"kernelPath" of the machine: give a string/);
  refused({ kernelPath: 'k', cpus: '2' }, /"cpus".*a number/);
  refused({ kernelPath: 'k', acpi: 'on' }, /"acpi".*true or false/);
  refused({ kernelPath: 'k', engine: 'fast' }, /"engine".*"interpreter"/);
  refused({ kernelPath: 'k', cpuMask: 'avx' }, /"cpuMask".*list of strings/);
  refused({ kernelPath: 'k', cmdline: null }, /"cmdline".*string/);
  refused({ kernelPath: 'k', disks: {} }, /"disks".*list/);
  refused({ kernelPath: 'k', disks: ['a'] }, /the disk: give an object/);
  refused({ kernelPath: 'k', disks: [null] }, /the disk: give an object/);
  refused({ kernelPath: 'k', disks: [{}] }, /no "path"/);
  refused({ kernelPath: 'k', disks: [{ path: 'a', ro: true }] }, /no "ro": .*readOnly/);
  refused({ kernelPath: 'k', disks: [{ path: 'a', format: 'vmdk' }] }, /"raw" or "qcow2"/);
  refused({ kernelPath: 'k', disks: [{ files: [] }] }, /has none/);
  refused({ kernelPath: 'k', disks: [{ files: 'a' }] }, /list of strings/);
});

test('ports have names that differ and are safe as file names, and a socket', () => {
  const withPorts = (...ports: unknown[]) => ({ kernelPath: 'k', ports });
  const port = { name: 'a', socketPath: 's' };
  assert.deepEqual(resolveConfig({ kernelPath: 'k', ports: [port] }).ports, [port]);
  refused(withPorts(port, port), /two ports have the name a/);
  for (const name of [undefined, '', '.', '..', 'a/b', 'a\n', 'a\0', ' ', 'x'.repeat(65)]) {
    refused(withPorts({ ...port, name }), /give a name/);
  }
  refused(withPorts({ name: 'a' }), /no "socketPath"/);
  refused(withPorts({ ...port, x: 1 }), /has no "x"/);
  refused(
    withPorts(...Array.from({ length: 17 }, (_, i) => ({ ...port, name: `p${i}` }))),
    /16 at most/,
  );
  refused({ kernelPath: 'k', console: 'vga' }, /"serial" or "virtio"/);
});

test('memory that can be raised: in blocks of 2 MiB from what the machine boots with', () => {
  const MIB = 2 ** 20;
  const config = (fields: object) => ({ kernelPath: 'k', memoryBytes: 255 * MIB, ...fields });
  const growing = { memoryMaxBytes: 1023 * MIB, memoryTargetBytes: 257 * MIB };
  assert.equal(resolveConfig(config(growing)).memoryMaxBytes, 1023 * MIB);
  for (const memoryMaxBytes of [0, 254 * MIB, 255 * MIB, 2 ** 41, Number.NaN, -1]) {
    refused(config({ memoryMaxBytes }), /of memory at most/);
  }
  for (const memoryMaxBytes of [256 * MIB, 257 * MIB + 4096, 257.5 * MIB, 257 * MIB + 0.5]) {
    refused(config({ memoryMaxBytes }), /no number of MiB/);
  }
  for (const memoryTargetBytes of [0, 253 * MIB, 1025 * MIB, 256 * MIB]) {
    refused(config({ ...growing, memoryTargetBytes }), /give/);
  }
  refused(config({ memoryTargetBytes: 257 * MIB }), /no "memoryMaxBytes"/);
});

test('files as memory: raw by their names, each once, eight at most', () => {
  const pmems = (value: unknown) => ({ kernelPath: 'k', pmems: value });
  assert.deepEqual(resolveConfig({ kernelPath: 'k', pmems: [{ path: 'a' }] }).pmems, [
    { path: 'a', readOnly: false },
  ]);
  refused(pmems([{}]), /no "path"/);
  refused(pmems([{ path: '' }]), /no "path"/);
  refused(pmems([{ path: 'a.qcow2' }]), /memory is raw/);
  refused(pmems([{ path: 'a' }, { path: 'a', readOnly: true }]), /twice/);
  refused(pmems([{ path: 'a', ro: true }]), /path, readOnly/);
  refused(pmems(Array.from({ length: 9 }, (_, index) => ({ path: `${index}` }))), /8 at most/);
});
