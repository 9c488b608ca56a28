/**
 * A fault of QEMU's emulation of AMD-V, if a rare one. What ran on the host then is to be run again on
 * another.
 */
export class EmulatorFault extends Error {
  override readonly name = 'EmulatorFault';
}

/** What Linux says of a processor when it reports a fault. */
const FLAGS = /\bEFLAGS: ([0-9a-f]{8})\b/g;
/** Bits of EFLAGS that are 0 on every processor, and the one that is 1: Intel SDM volume 1, 3.4.3. */
const ALWAYS_ZERO = 0xffc0_8028;
const ALWAYS_ONE = 0x2;

/**
 * Whether a guest's messages show flags that no processor has. What the guest did since it had them tells
 * nothing of tsvm: with a direction flag that nobody set, for example, Linux clears the memory before an
 * object instead of the object.
 */
export function showsImpossibleFlags(messages: string): boolean {
  return Array.from(messages.matchAll(FLAGS)).some(([, digits = '']) => {
    const flags = Number.parseInt(digits, 16);
    return (flags & ALWAYS_ZERO) !== 0 || (flags & ALWAYS_ONE) === 0;
  });
}
