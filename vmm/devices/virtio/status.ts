/**
 * The device status (virtio 1.2, section 2.1) as a table of the steps that a driver may take. Every
 * other write is refused and changes nothing.
 */
export const ACKNOWLEDGE = 1;
export const DRIVER = 2;
export const DRIVER_OK = 4;
export const FEATURES_OK = 8;
/** Set by the device alone: it has met an error and serves nothing until it is reset. */
export const DEVICE_NEEDS_RESET = 64;
/** Set by the driver at any time: it has given up on the device (section 2.1). */
export const FAILED = 128;

/** What the device has to do for a step to happen. */
export type StatusAction = 'none' | 'negotiate' | 'activate';

interface StatusStep {
  readonly from: number;
  readonly to: number;
  readonly action: StatusAction;
}

/**
 * The initialisation sequence, section 3.1.1. A driver may acknowledge the device and say that it
 * can drive it in one write (some boot firmware does); the device tells its answer to FEATURES_OK
 * by the bit, so that DRIVER_OK always is a write of its own.
 */
const STEPS: readonly StatusStep[] = [
  { from: 0, to: ACKNOWLEDGE, action: 'none' },
  { from: 0, to: ACKNOWLEDGE | DRIVER, action: 'none' },
  { from: ACKNOWLEDGE, to: ACKNOWLEDGE | DRIVER, action: 'none' },
  { from: ACKNOWLEDGE | DRIVER, to: ACKNOWLEDGE | DRIVER | FEATURES_OK, action: 'negotiate' },
  {
    from: ACKNOWLEDGE | DRIVER | FEATURES_OK,
    to: ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK,
    action: 'activate',
  },
];

/** True for a status that a device can have. */
export function isReachable(status: number): boolean {
  const own = status & ~(FAILED | DEVICE_NEEDS_RESET);
  const needsReset = (status & DEVICE_NEEDS_RESET) !== 0;
  if (needsReset && (status & DRIVER_OK) === 0) return false;
  return own === 0 || STEPS.some(({ to }) => to === own);
}

/**
 * The action of a write of `value`, which is not 0 (a reset), to a status that reads `current`;
 * undefined when the write is illegal.
 *
 * FAILED stands beside the sequence: a driver sets it in any state, and one that resumes from
 * suspend initialises a device anew with the bit set. DEVICE_NEEDS_RESET is the device's own: a
 * driver writes back what it read.
 */
export function statusAction(current: number, value: number): StatusAction | undefined {
  const lost = current & ~value & ~DEVICE_NEEDS_RESET;
  const claimed = value & ~current & DEVICE_NEEDS_RESET;
  // "The driver MUST NOT clear a device status bit" (2.1.1).
  if (lost !== 0 || claimed !== 0) return undefined;
  const from = current & ~(FAILED | DEVICE_NEEDS_RESET);
  const to = value & ~(FAILED | DEVICE_NEEDS_RESET);
  if (from === to) return 'none';
  return STEPS.find((step) => step.from === from && step.to === to)?.action;
}
