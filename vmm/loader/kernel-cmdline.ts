/** The kernel command line: Linux's Documentation/admin-guide/kernel-parameters.rst. */
import { TsvmError } from '../errors.ts';
import { encodeBytes } from '../util/byte-names.ts';

/** A virtio-mmio device that the kernel finds by the command line alone. */
export interface VirtioMmioParameter {
  readonly gpa: number;
  /** Length of its register window in bytes. */
  readonly sizeBytes: number;
  readonly gsi: number;
  /** Platform device number; the kernel counts up by itself when it is absent. */
  readonly id?: number;
}

export interface CommandLineParts {
  /** Device for `console=`, such as `ttyS0`. */
  readonly console?: string;
  readonly root?: { readonly device: string; readonly readOnly: boolean };
  /** `panic=`: seconds until a reboot after a panic, negative for at once, 0 for never. */
  readonly panicSeconds?: number;
  /** `reboot=`: how the kernel resets the machine, such as `k` for the keyboard controller. */
  readonly reboot?: string;
  /** Parameters that only this host's KVM needs. */
  readonly host?: readonly string[];
  readonly virtioMmio?: readonly VirtioMmioParameter[];
  /** The user's own parameters. They stand last, where they win over ours. */
  readonly append?: string;
}

/** COMMAND_LINE_SIZE of x86 Linux without the final NUL, for kernels that do not tell it. */
export const COMMAND_LINE_MAX_BYTES = 2047;

/** A `virtio_mmio.device=` parameter: drivers/virtio/virtio_mmio.c, `<size>@<baseaddr>:<irq>[:<id>]`. */
export function virtioMmioParameter(device: VirtioMmioParameter): string {
  const { gpa, sizeBytes, gsi, id } = device;
  const size = sizeBytes % 1024 === 0 ? `${sizeBytes / 1024}K` : `${sizeBytes}`;
  const place = `virtio_mmio.device=${size}@0x${gpa.toString(16)}:${gsi}`;
  return id === undefined ? place : `${place}:${id}`;
}

/** Joins the parts to a command line, not yet checked. */
export function composeCommandLine(parts: CommandLineParts): string {
  const { console, root, panicSeconds, reboot, host = [], virtioMmio = [], append } = parts;
  const words = [
    console !== undefined && `console=${console}`,
    root && `root=${root.device}`,
    root && (root.readOnly ? 'ro' : 'rw'),
    panicSeconds !== undefined && `panic=${panicSeconds}`,
    reboot !== undefined && `reboot=${reboot}`,
    ...host,
    ...virtioMmio.map(virtioMmioParameter),
    append?.trim(),
  ];
  return words.filter((word) => word).join(' ');
}

/**
 * The command line as the kernel reads it: UTF-8, NUL-terminated.
 * @param maxBytes the kernel's limit without the NUL
 * @throws TsvmError `cmdline-too-long`, or `invalid-config` for a NUL or a line break in it
 */
export function encodeCommandLine(text: string, maxBytes: number): Uint8Array {
  const position = text.search(/[\0\r\n]/);
  if (position >= 0) {
    throw new TsvmError(
      'invalid-config',
      `the kernel command line has a NUL or a line break at position ${position}: take it out`,
    );
  }
  const bytes = encodeBytes(`${text}\0`);
  const length = bytes.byteLength - 1;
  if (length > maxBytes) {
    throw new TsvmError(
      'cmdline-too-long',
      `the kernel command line is ${length} bytes long, the kernel takes ${maxBytes}: shorten it`,
    );
  }
  return bytes;
}
