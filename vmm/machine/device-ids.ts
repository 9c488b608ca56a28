import { invalid } from './config-fields.ts';

/** Kinds of devices of which a machine has any number, and which can be removed. */
export type DeviceKind = 'disk' | 'net';

/** What of a device stays the same as long as the machine has it, over resets of the guest, too. */
export interface DeviceIdentity {
  /** `disk0`, `net1`, … Default: the first that is free, in the order of the configuration. */
  readonly id?: string | undefined;
  /** Its number on the PCI bus, 1 to 31. Default: the first that is free. */
  readonly slot?: number | undefined;
}

export const SLOT_MIN = 1;
export const SLOT_MAX = 31;

/** @throws TsvmError `invalid-config` */
export function checkIdentity(kind: DeviceKind, { id, slot }: DeviceIdentity): void {
  if (id !== undefined && !new RegExp(`^${kind}(0|[1-9]\\d{0,3})$`).test(id)) {
    invalid(`the id "${id}" of a ${kind}: give ${kind}0, ${kind}1, …, or none`);
  }
  if (slot !== undefined && (!Number.isInteger(slot) || slot < SLOT_MIN || slot > SLOT_MAX)) {
    invalid(`slot ${slot} of the PCI bus: give a number from ${SLOT_MIN} to ${SLOT_MAX}, or none`);
  }
}

/**
 * The ids of devices, in their order.
 * @throws TsvmError `invalid-config` if two have the same
 */
export function deviceIds(kind: DeviceKind, devices: readonly DeviceIdentity[]): string[] {
  const taken = new Set<string>();
  for (const { id } of devices) {
    if (id === undefined) continue;
    if (taken.has(id)) invalid(`two devices have the id ${id}: leave it out`);
    taken.add(id);
  }
  return devices.map(({ id }) => {
    if (id !== undefined) return id;
    const free = freeId(kind, taken);
    taken.add(free);
    return free;
  });
}

/** The first id that none of `taken` has. */
export function freeId(kind: DeviceKind, taken: { has(id: string): boolean }): string {
  let number = 0;
  while (taken.has(`${kind}${number}`)) number += 1;
  return `${kind}${number}`;
}
