/** The kernel command line: Linux's Documentation/admin-guide/kernel-parameters.rst. */
import { TsvmError } from '../errors.ts';
import { encodeBytes } from '../util/byte-names.ts';

/** A virtio-mmio device that is announced on the command line instead of in ACPI. */
export interface VirtioMmioParameter {
  readonly gpa: number;
  /** Size of the register window in bytes. */
  readonly sizeBytes: number;
  readonly gsi: number;
  /** Platform device number. Default: the kernel numbers the devices itself. */
  readonly id?: number;
}

export interface CommandLineParts {
  /** Device for `console=`, such as `ttyS0`. */
  readonly console?: string;
  readonly root?: { readonly device: string; readonly readOnly: boolean };
  /** `rdinit=`: the program in the initrd that runs first, if it is not `/init`. */
  readonly initrdInit?: string;
  /** `panic=`: seconds from a panic to the reboot; negative: immediately, 0: never. */
  readonly panicSeconds?: number;
  /** `reboot=`: reset method of the kernel, such as `k` for the keyboard controller. */
  readonly reboot?: string;
  /** Parameters for what the machine has. */
  readonly machine?: readonly string[];
  /** Parameters for this build of the kernel. */
  readonly kernel?: readonly string[];
  /** Parameters that the host's KVM requires. */
  readonly host?: readonly string[];
  readonly virtioMmio?: readonly VirtioMmioParameter[];
  /** The user's parameters. They come last, so that they override the others. */
  readonly append?: string;
  /** A boot entry's own command line. It follows `panic=` and `machine`, so that it can have others. */
  readonly entry?: string;
}

/** COMMAND_LINE_SIZE of x86 Linux without the final NUL, for kernels that do not state theirs. */
export const COMMAND_LINE_MAX_BYTES = 2047;

/** A `virtio_mmio.device=` parameter: drivers/virtio/virtio_mmio.c, `<size>@<baseaddr>:<irq>[:<id>]`. */
export function virtioMmioParameter(device: VirtioMmioParameter): string {
  const { gpa, sizeBytes, gsi, id } = device;
  const size = sizeBytes % 1024 === 0 ? `${sizeBytes / 1024}K` : `${sizeBytes}`;
  const place = `virtio_mmio.device=${size}@0x${gpa.toString(16)}:${gsi}`;
  return id === undefined ? place : `${place}:${id}`;
}

/** Joins the parts into a command line. {@link encodeCommandLine} checks it. */
export function composeCommandLine(parts: CommandLineParts): string {
  const { console, root, initrdInit, panicSeconds, reboot } = parts;
  const { machine = [], kernel = [], host = [], virtioMmio = [], append, entry } = parts;
  const words = [
    console !== undefined && `console=${console}`,
    root && `root=${root.device}`,
    root && (root.readOnly ? 'ro' : 'rw'),
    initrdInit !== undefined && `rdinit=${initrdInit}`,
    panicSeconds !== undefined && `panic=${panicSeconds}`,
    reboot !== undefined && `reboot=${reboot}`,
    ...machine,
    entry?.trim(),
    ...kernel,
    ...host,
    ...virtioMmio.map(virtioMmioParameter),
    append?.trim(),
  ];
  return words.filter((word) => word).join(' ');
}

/**
 * Encodes a command line as NUL-terminated UTF-8.
 * @param maxBytes the kernel's limit without the NUL
 * @throws TsvmError `cmdline-too-long`, or `invalid-config` when it contains a NUL or a line break
 */
export function encodeCommandLine(text: string, maxBytes: number): Uint8Array {
  const position = text.search(/[\0\r\n]/);
  if (position >= 0) {
    throw new TsvmError(
      'invalid-config',
      `the kernel command line has a NUL or a line break at position ${position}: remove it`,
    );
  }
  const bytes = encodeBytes(`${text}\0`);
  const length = bytes.byteLength - 1;
  if (length > maxBytes) {
    throw new TsvmError(
      'cmdline-too-long',
      `the kernel command line has ${length} bytes, the kernel accepts ${maxBytes}: shorten it`,
    );
  }
  return bytes;
}
