/** Advice for vCPUs that KVM cannot continue. */
const ADVICE: readonly (readonly [RegExp, string])[] = [
  [
    /\bEFAULT\b/,
    'memory of the guest is gone: a file of --pmem was truncated, or its file system is full',
  ],
  [
    /\bemulat/,
    'hide the CPU feature that it belongs to from the guest (--cpu-mask, e.g. ssse3,aes,avx), or ' +
      'use a host with VT-x or AMD-V, where nothing is emulated ("tsvm doctor" looks at this one)',
  ],
  [
    /KVM exit reason 17\b/,
    'KVM could not emulate what the guest did: its kernel may be meant for another machine, or the ' +
      'host’s KVM is at fault ("dmesg" may tell more)',
  ],
  [
    /KVM exit reason 9\b/,
    'the host’s CPU refuses the guest’s state: "dmesg" on the host may tell more',
  ],
];

/** Why a vCPU has failed, with advice if there is any. */
export function withAdvice(failure: string): string {
  const advice = ADVICE.find(([pattern]) => pattern.test(failure))?.[1];
  return advice === undefined ? failure : `${failure}: ${advice}`;
}
