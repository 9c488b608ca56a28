import type { MachineDevice } from '../devices/machine-device.ts';
import { unwind } from '../util/unwind.ts';
import type { Machine, Release } from './machine.ts';
import type { DevicePlacement } from './placement.ts';

/** Has devices and what they have open: a machine, or the scope of a device that can be removed. */
export type DeviceOwner = Pick<Machine, 'addDevice' | 'own'>;

/** Where a device goes, and what has it. */
export interface DevicePlace {
  readonly placement: DevicePlacement;
  readonly scope: DeviceScope;
}

/** A device that can be removed from a machine, with all that it has open. */
export class DeviceScope implements DeviceOwner {
  readonly #machine: DeviceOwner;
  readonly #resources = new AsyncDisposableStack();

  constructor(machine: DeviceOwner) {
    this.#machine = machine;
  }

  addDevice(device: MachineDevice): Release {
    return this.#defer(this.#machine.addDevice(device));
  }

  own(release: () => void | Promise<void>): Release {
    return this.#defer(this.#machine.own(release));
  }

  /** Releases everything in reverse order, even if some of that fails, which rejects. */
  async close(): Promise<void> {
    await unwind(this.#resources);
  }

  #defer(release: Release): Release {
    this.#resources.defer(release);
    return release;
  }
}
