import { TsvmError } from '../errors.ts';

/** Plain data: JSON's types except null, and byte arrays. */
export type StateValue =
  | string
  | number
  | boolean
  | Uint8Array
  | readonly StateValue[]
  | { readonly [name: string]: StateValue };

/**
 * The state of a device between two accesses of the guest, without its configuration. Read it with a
 * {@link StateReader}.
 */
export interface DeviceState {
  /** Version of the layout of the other fields; each device has its own, from 1. */
  readonly version: number;
  readonly [field: string]: StateValue;
}

/** Reads a saved state field by field. The state may be damaged or hostile: nothing is trusted. */
export class StateReader {
  readonly #name: string;
  readonly #fields: { readonly [name: string]: StateValue };

  /**
   * @param name the device, for messages
   * @param version the supported version; a nested record has none
   * @throws TsvmError `invalid-state`, as do all methods
   */
  constructor(name: string, state: StateValue | undefined, version?: number) {
    this.#name = name;
    if (typeof state !== 'object' || state === null || Array.isArray(state)) {
      this.fail('it is no record');
    }
    this.#fields = state as { readonly [name: string]: StateValue };
    const found = this.#field('version');
    if (version !== undefined && found !== version) {
      this.fail(`it has version ${found}, and this tsvm reads version ${version}`);
    }
  }

  /** An integer from 0 to `max`. */
  number(name: string, max: number): number {
    const value = this.#field(name);
    if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max) {
      return value;
    }
    return this.fail(`${name} is no integer from 0 to ${max}`);
  }

  /** A number from -`max` to `max`. */
  signed(name: string, max: number): number {
    const value = this.#field(name);
    if (typeof value === 'number' && Math.abs(value) <= max) return value;
    return this.fail(`${name} is no number from -${max} to ${max}`);
  }

  boolean(name: string): boolean {
    const value = this.#field(name);
    return typeof value === 'boolean' ? value : this.fail(`${name} is neither true nor false`);
  }

  /** A copy of `minBytes` to `maxBytes` bytes. */
  bytes(name: string, maxBytes: number, minBytes = 0): Uint8Array {
    const value = this.#field(name);
    if (value instanceof Uint8Array && value.length >= minBytes && value.length <= maxBytes) {
      return new Uint8Array(value);
    }
    return this.fail(`${name} is no array of ${minBytes} to ${maxBytes} bytes`);
  }

  /** A list of `count` records. */
  list(name: string, count: number): readonly StateReader[] {
    const value = this.#field(name);
    if (!Array.isArray(value) || value.length !== count) {
      return this.fail(`${name} is no list of ${count}`);
    }
    return value.map(
      (fields: StateValue, index) => new StateReader(`${this.#name}.${name}[${index}]`, fields),
    );
  }

  /** Copies of at most `maxCount` byte arrays of at most `maxBytes` each. */
  byteArrays(name: string, maxCount: number, maxBytes: number): Uint8Array[] {
    const value = this.#field(name);
    const fits = (each: StateValue) => each instanceof Uint8Array && each.length <= maxBytes;
    if (!Array.isArray(value) || value.length > maxCount || !value.every(fits)) {
      return this.fail(`${name} is no list of at most ${maxCount} byte arrays`);
    }
    return value.map((each: Uint8Array) => new Uint8Array(each));
  }

  /** A record in the state. */
  part(name: string): StateReader {
    return new StateReader(`${this.#name}.${name}`, this.#field(name));
  }

  fail(problem: string): never {
    throw new TsvmError(
      'invalid-state',
      `the saved state of ${this.#name} cannot be loaded: ${problem}`,
    );
  }

  #field(name: string): StateValue | undefined {
    return Object.hasOwn(this.#fields, name) ? this.#fields[name] : undefined;
  }
}
