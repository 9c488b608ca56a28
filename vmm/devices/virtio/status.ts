/**
 * The device status (virtio 1.2, section 2.1) as a table of legal transitions. All other writes are
 * refused and change nothing.
 */
export const ACKNOWLEDGE = 1;
export const DRIVER = 2;
export const DRIVER_OK = 4;
export const FEATURES_OK = 8;
/** Set only by the device: after an error it serves nothing until it is reset. */
export const DEVICE_NEEDS_RESET = 64;
/** Set by the driver at any time: it has given up on the device (section 2.1). */
export const FAILED = 128;

/** The action of the device in a transition. */
export type StatusAction = 'none' | 'negotiate' | 'activate';

interface StatusStep {
  readonly from: number;
  readonly to: number;
  readonly action: StatusAction;
}

/**
 * The initialisation sequence, section 3.1.1. A driver may set ACKNOWLEDGE and DRIVER in one write, as
 * some boot firmware does. DRIVER_OK is always a separate write, because the driver first has to read
 * back whether the device accepted FEATURES_OK.
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
 * The action when `value` is written to a status of `current`; undefined if the write is illegal. 0,
 * a reset, is handled elsewhere.
 *
 * FAILED is independent of the sequence: a driver may set it in any state, and a driver that resumes
 * from suspend initialises the device again with the bit set. A driver that writes back what it read
 * may include DEVICE_NEEDS_RESET, which has no effect.
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
