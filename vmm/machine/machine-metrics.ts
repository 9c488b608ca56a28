import type { Counters, Gauges } from '../devices/machine-device.ts';

/** What a device has counted since the machine was made. */
export interface DeviceMetrics {
  readonly counters: Counters;
  readonly gauges: Gauges;
  /** By queue index; empty for a device without virtqueues. */
  readonly queues: readonly Counters[];
}

export interface MachineMetrics {
  /** Summed over all vCPUs. */
  readonly vcpus: Counters;
  /** By the device's id. */
  readonly devices: Readonly<Record<string, DeviceMetrics>>;
}

/** What each counter of vCPUs counts. */
export const VCPU_COUNTERS = {
  exits: 'VM exits to tsvm.',
  fastAccesses: 'Register accesses that a vCPU thread served by itself.',
  slowAccesses: 'Register accesses that JavaScript served.',
  scriptWakes: 'Times that JavaScript was woken by vCPUs and by registers that queue writes.',
  unassignedAccesses: 'Accesses to addresses and ports without a device.',
  interruptedRuns: 'Runs of a vCPU that a signal ended.',
  interpretedKernel: 'Instructions of guest kernels that were interpreted.',
  interpretedUser: 'Instructions of guest programs that were interpreted.',
  decoded: 'Instructions that were decoded for the interpreter.',
  codeFlushes: 'Times that all decoded code was dropped.',
  codeInvalidations: 'Times that decoded code of a page was dropped.',
  translations: 'Pieces of guest code that were translated to host code.',
  translated: 'Instructions in translated pieces of code.',
  pageWalks: 'Walks of guest page tables.',
  tableWrites: 'Guest writes to page tables that were intercepted.',
  zappedEntries: 'Entries of shadow page tables that were dropped.',
  zappedTables: 'Shadow page tables that were dropped.',
  zappedAll: 'Times that all shadow page tables were dropped.',
  nativeRuns: 'Times that guest programs were run natively.',
  nativeSystemCalls: 'System calls that ended native runs.',
  nativeFaults: 'Faults that ended native runs.',
  interrupts: 'Interrupts that the interpreter delivered.',
  interruptPolls: 'Times that the interpreter looked for interrupts.',
  interruptsHeld: 'Interrupts of devices that were raised later, for several requests at once.',
  halts: 'Times that a vCPU halted.',
  steps: "Instructions that KVM's emulator executed one at a time.",
  legacySteps: "Instructions outside of long mode that KVM's emulator executed.",
  chipAccesses: 'Accesses of the interpreter to interrupt controllers.',
  simd: 'SIMD instructions that were interpreted.',
  frameProtections: 'Page frames that were write-protected.',
} as const satisfies Readonly<Record<string, string>>;

/** Values of vCPUs that go up and down. */
export const VCPU_GAUGES = {
  engineResidentBytes: 'Host memory of the interpreter in bytes.',
} as const satisfies Readonly<Record<string, string>>;

/** Prefixes of counters whose names end with an exception's vector or an instruction. */
export const VCPU_EVENT_PREFIXES = ['exception-', 'step-', 'emulator-'] as const;
export const VCPU_EVENTS_HELP = 'Exceptions and instructions that tsvm handled, by kind.';

/** What each counter of devices counts. A name means the same in every device that has it. */
export const DEVICE_COUNTERS = {
  chains: 'Descriptor chains that were taken from virtqueues.',
  interrupts: 'Interrupts that were sent for used buffers.',
  sleeps: 'Waits of queue workers for kicks and completions.',
  pollHits: 'Waits that polling made unnecessary.',
  gathers: 'Short sleeps of queue workers, in which more work gathers.',
  atOnce: 'Kicks that the vCPU’s thread served itself.',
  ignoredReads: 'Invalid reads of registers, which were answered with 0.',
  ignoredWrites: 'Invalid writes to registers, which were ignored.',
  strayNotifies: 'Kicks of queues that are not in service.',
  scriptWakes: 'Times that JavaScript was woken for the device’s queues.',
  scriptChains: 'Descriptor chains that JavaScript served.',
  reads: 'Read requests.',
  readBytes: 'Bytes that the guest read.',
  writes: 'Write requests.',
  writtenBytes: 'Bytes that the guest wrote.',
  flushes: 'Flush requests.',
  discards: 'Discard and write-zeroes requests.',
  errors: 'Requests that failed.',
  rateDelays: 'Times that a rate limit held requests back.',
  receiveRateDelays: 'Times that a rate limit held frames to the guest back.',
  sendRateDelays: 'Times that a rate limit held frames from the guest back.',
  scriptRequests: 'Requests that JavaScript had to resolve.',
  requests: 'Requests for entropy.',
  bytes: 'Bytes of entropy that the guest got.',
  receivedFrames: 'Frames to the guest.',
  receivedBytes: 'Bytes of frames to the guest.',
  receiveDrops: 'Frames to the guest that were dropped: too long for its buffers, or without link.',
  sentFrames: 'Frames from the guest.',
  sentBytes: 'Bytes of frames from the guest.',
  sendDrops:
    'Frames from the guest that were dropped: invalid, refused by the host, or without link.',
  spoofedFrames:
    'Of these, frames with another source address than the device’s, where it matters.',
  outputBytes: 'Bytes that the guest wrote to its console and ports.',
  inputBytes: 'Bytes that the guest read from its console and ports.',
  cutBytes: 'Bytes of output that were dropped from writes that were too long.',
  droppedBytes: 'Bytes of output that were dropped because nobody on the host had the port open.',
  ignoredControls: 'Control messages of the guest that were invalid, or of no use.',
  lostControls: 'Control messages that the guest did not take in time.',
  inflatedBytes: 'Bytes that went from the guest to its balloon.',
  reportedBytes: 'Bytes of free memory that the guest reported, and the host took back.',
  refusedPages: 'Pages outside of memory that the guest wanted to give away.',
  discardFailures: 'Ranges of pages that the host could not take back.',
  blocksPlugged: 'Blocks of 2 MiB of memory that the guest took.',
  blocksUnplugged: 'Blocks of 2 MiB of memory that the guest gave back.',
  refusedRequests: 'Requests of the guest for memory that were invalid.',
  connections: 'Connections that were established.',
  refused: 'Connections that were refused.',
  resets: 'Connections that were reset.',
  txPackets: 'Packets from the guest.',
  txBytes: 'Bytes of payload from the guest.',
  rxPackets: 'Packets to the guest.',
  rxBytes: 'Bytes of payload to the guest.',
  malformed: 'Packets from the guest that were invalid.',
  creditLies: 'Packets that exceeded the credit of their sender.',
  backendRequests: 'Requests that were passed to the process that serves the device.',
  backendKicks: 'Kicks of the process that serves the device.',
} as const satisfies Readonly<Record<string, string>>;

/** What each counter of a virtqueue counts. */
export const QUEUE_COUNTERS = {
  chains: 'Descriptor chains that were taken from the virtqueue.',
  notifications: 'Used-buffer notifications that the driver wanted.',
} as const satisfies Readonly<Record<string, string>>;

/** Values of devices that go up and down. */
export const DEVICE_GAUGES = {
  targetBytes: 'Bytes that the balloon is to hold.',
  actualBytes: 'Bytes that the balloon holds, as the guest says.',
  requestedBytes: 'Bytes of memory that the guest is to have besides what it booted with.',
  pluggedBytes: 'Bytes of memory that the guest has besides what it booted with.',
} as const satisfies Readonly<Record<string, string>>;
