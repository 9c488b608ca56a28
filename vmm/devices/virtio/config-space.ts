import type { StateReader, StateValue } from '../device-state.ts';

/** A little-endian field of a device's configuration space. */
export interface ConfigField {
  /** Bytes from the start of the configuration space. */
  readonly offset: number;
  /** Bytes. */
  readonly width: 1 | 2 | 4 | 8;
}

/**
 * A device's configuration space (virtio 1.2, section 2.5): the device sets its fields by name, the
 * driver reads bytes.
 */
export class ConfigSpace {
  readonly #view: DataView;
  readonly #variable: boolean;
  #generation = 0;

  /** @param variable the content changes while the machine runs: a saved state restores it */
  constructor(sizeBytes: number, { variable = false } = {}) {
    this.#view = new DataView(new ArrayBuffer(sizeBytes));
    this.#variable = variable;
  }

  /**
   * Changes with every change of a field, so that a driver notices that a field changed between two
   * of its reads (2.5.1). 32 bits.
   */
  get generation(): number {
    return this.#generation;
  }

  /** @param value at most 2^53 - 1, and within the field's width */
  set(field: ConfigField, value: number): void {
    const { offset, width } = field;
    if (width === 1) this.#view.setUint8(offset, value);
    else if (width === 2) this.#view.setUint16(offset, value, true);
    else if (width === 4) this.#view.setUint32(offset, value, true);
    else this.#view.setBigUint64(offset, BigInt(value), true);
    this.#generation = (this.#generation + 1) >>> 0;
  }

  /** The value of a field of at most 32 bits. */
  get({ offset, width }: ConfigField): number {
    return this.read(offset, width) ?? 0;
  }

  save(): StateValue {
    return { generation: this.#generation, bytes: this.#bytes().slice() };
  }

  /** Of the same fields. Those that do not vary tell of the host's side, which is configured. */
  load(state: StateReader): void {
    const bytes = state.bytes('bytes', this.#view.byteLength, this.#view.byteLength);
    if (this.#variable) this.#bytes().set(bytes);
    else if (Buffer.compare(bytes, this.#bytes()) !== 0) {
      state.fail(
        'it is that of a device with another size or other limits: configure it as it was',
      );
    }
    this.#generation = state.number('generation', 0xffff_ffff);
  }

  #bytes(): Uint8Array {
    return new Uint8Array(this.#view.buffer);
  }

  /** A driver's read: undefined unless it is of 1, 2 or 4 bytes, aligned and inside. */
  read(offset: number, width: number): number | undefined {
    if (offset % width !== 0 || offset + width > this.#view.byteLength) return undefined;
    switch (width) {
      case 1:
        return this.#view.getUint8(offset);
      case 2:
        return this.#view.getUint16(offset, true);
      case 4:
        return this.#view.getUint32(offset, true);
      default:
        return undefined;
    }
  }
}
