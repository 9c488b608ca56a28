/** Makes a single call fail: a call of the host or of the addon. */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { loadAddon } from '../../vmm/host/addon.ts';

type Callable = (...values: never[]) => unknown;

/** Functions of node:fs that open, read or examine files. */
const FS_CALLS = ['openSync', 'fstatSync', 'readSync', 'closeSync', 'statSync'] as const;

/** A call by its name and its ordinal among calls of that name, from 1. */
export interface Step {
  readonly name: string;
  readonly occurrence: number;
}

export class FailingSteps {
  /** How often each function was called since {@link during} began. */
  readonly #counts = new Map<string, number>();
  #counting = false;
  #failing: Step | undefined;
  #happened = false;

  constructor() {
    const addon = loadAddon() as unknown as Record<string, unknown>;
    for (const [name, value] of Object.entries(addon)) {
      if (typeof value !== 'function') continue;
      const isClass = /^Native/.test(name);
      addon[name] = isClass
        ? this.#failingClass(name, value as new (...values: never[]) => object)
        : this.#failingCall(name, value as Callable);
    }
    const calls = fs as unknown as Record<string, Callable>;
    for (const name of FS_CALLS) {
      const call = calls[name];
      if (call !== undefined) calls[name] = this.#failingCall(name, call);
    }
    syncBuiltinESMExports();
  }

  /** Counts the calls of each function during `action`. */
  async count(action: () => Promise<void>): Promise<ReadonlyMap<string, number>> {
    await this.during(undefined, action);
    return new Map(this.#counts);
  }

  /** Makes a call fail during `action`. @returns false if the call was not made */
  async during(step: Step | undefined, action: () => Promise<void>): Promise<boolean> {
    this.#counts.clear();
    this.#failing = step;
    this.#happened = false;
    this.#counting = true;
    try {
      await action();
    } finally {
      this.#counting = false;
    }
    return this.#happened;
  }

  #step(name: string): boolean {
    if (!this.#counting) return false;
    const occurrence = (this.#counts.get(name) ?? 0) + 1;
    this.#counts.set(name, occurrence);
    const fails = this.#failing?.name === name && this.#failing.occurrence === occurrence;
    this.#happened ||= fails;
    return fails;
  }

  #failingCall(name: string, call: Callable): Callable {
    const step = () => this.#step(name);
    return function (this: unknown, ...values: never[]): unknown {
      const fails = step();
      if (fails && !name.includes('close')) throw new Error(`${name} fails on purpose`);
      const answer = call.apply(this, values);
      if (fails) throw new Error(`${name} fails on purpose`);
      return answer;
    };
  }

  #failingClass(name: string, original: new (...values: never[]) => object): unknown {
    const step = (what: string) => this.#step(what);
    const failing = class extends original {
      constructor(...values: never[]) {
        if (step(`new ${name}`)) throw new Error(`new ${name} fails on purpose`);
        super(...values);
      }
    };
    for (const method of Object.getOwnPropertyNames(original.prototype)) {
      const { value } = Object.getOwnPropertyDescriptor(original.prototype, method) ?? {};
      if (method === 'constructor' || typeof value !== 'function') continue;
      Object.defineProperty(failing.prototype, method, {
        value(this: object, ...values: never[]): unknown {
          const fails = step(`${name}.${method}`);
          const error = new Error(`${name}.${method} fails on purpose`);
          // A function that ends something fails after having done so.
          if (fails && method !== 'close' && method !== 'stop') throw error;
          const answer: unknown = value.apply(this, values);
          if (!fails) return answer;
          if (!(answer instanceof Promise)) throw error;
          return answer.then(() => Promise.reject(error));
        },
      });
    }
    return failing;
  }
}
