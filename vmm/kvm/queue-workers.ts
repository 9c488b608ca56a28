import type {
  NativeEventFd,
  NativeNetPort,
  NativeQueueHost,
  NativeVhostQueues,
  NativeVsock,
} from '../../kvm-addon/index.d.ts';
import type { Disk } from '../backends/disk/machine/disk.ts';
import type { BlockWorkerOptions } from '../devices/virtio/block/block-device.ts';
import type { QueueWorker } from '../devices/virtio/queue-worker.ts';
import type { CreateScriptQueues } from '../devices/virtio/script-queues.ts';
import { loadAddon } from '../host/addon.ts';
import type { KvmMemory } from './memory.ts';
import type { KvmRateLimiter } from './rate-limiter.ts';
import type { KvmRegisterBank } from './register-bank.ts';

/** The machine's resources for a queue worker. */
export interface QueueHost {
  readonly memory: KvmMemory;
  /** The kick event of each queue, by queue index. */
  readonly kicks: readonly NativeEventFd[];
  /** Interrupts, indexed by {@link QueueConfig.interrupt}. */
  readonly interrupts: readonly { readonly event: NativeEventFd }[];
  /** virtio-mmio's InterruptStatus: bit 0 of this word is set with each interrupt. */
  readonly interruptStatus?: { readonly bank: KvmRegisterBank; readonly word: number };
  /** Runs a callback from the worker's thread and handles the errors it throws. */
  contain(action: () => void): void;
}

/** I/O engine of a disk. */
export type DiskEngine = 'io_uring' | 'threads';

type OnBroken = (reason: string) => void;

function nativeHost(host: QueueHost, onBroken: OnBroken): NativeQueueHost {
  const { memory, kicks, interrupts, interruptStatus } = host;
  return {
    memory: memory.native,
    kicks,
    interrupts: interrupts.map(({ event }) => event),
    ...(interruptStatus && {
      interruptStatus: { bank: interruptStatus.bank.native, word: interruptStatus.word },
    }),
    onBroken: (reason) => host.contain(() => onBroken(reason)),
  };
}

/** Returns a factory for the worker of a block device. */
export function blockWorker(
  host: QueueHost,
  disk: Disk,
  engine: DiskEngine,
  limiter: KvmRateLimiter,
): (options: BlockWorkerOptions, onBroken: OnBroken) => QueueWorker {
  return (options, onBroken) => {
    const { NativeQueueWorker } = loadAddon();
    return new NativeQueueWorker({
      device: 'block',
      host: nativeHost(host, onBroken),
      disk,
      engine,
      rateLimiter: limiter.native,
      ...options,
    });
  };
}

/** Returns a factory for the worker of an entropy device. */
export function rngWorker(host: QueueHost): (onBroken: OnBroken) => QueueWorker {
  return (onBroken) => {
    const { NativeQueueWorker } = loadAddon();
    return new NativeQueueWorker({ device: 'entropy', host: nativeHost(host, onBroken) });
  };
}

/** Returns a factory for the worker of a socket device. */
export function vsockWorker(
  host: QueueHost,
  vsock: NativeVsock,
): (onBroken: OnBroken) => QueueWorker {
  return (onBroken) => {
    const { NativeQueueWorker } = loadAddon();
    return new NativeQueueWorker({ device: 'socket', vsock, host: nativeHost(host, onBroken) });
  };
}

/** Returns a factory for the workers of a network device. */
export function netWorker(
  host: QueueHost,
  ports: readonly NativeNetPort[],
  limiters: { readonly receive: KvmRateLimiter; readonly transmit: KvmRateLimiter },
): (pair: number, onBroken: OnBroken) => QueueWorker {
  return (pair, onBroken) => {
    const { NativeQueueWorker } = loadAddon();
    const port = ports[pair];
    if (port === undefined) throw new RangeError(`there is no port for pair ${pair}`);
    return new NativeQueueWorker({
      device: 'net',
      host: nativeHost(host, onBroken),
      port,
      receiveLimiter: limiters.receive.native,
      transmitLimiter: limiters.transmit.native,
    });
  };
}

/** Returns a factory for the worker of a device that another process serves. */
export function vhostWorker(
  host: QueueHost,
  queues: NativeVhostQueues,
): (onBroken: OnBroken) => QueueWorker {
  return (onBroken) => {
    const { NativeQueueWorker } = loadAddon();
    return new NativeQueueWorker({ device: 'vhost', queues, host: nativeHost(host, onBroken) });
  };
}

/** Makes the queues of a device that TypeScript serves, and their worker. */
export function scriptQueues(host: QueueHost): CreateScriptQueues {
  return ({ threadName, readableBytesMax, onChains }) => {
    const { NativeQueueWorker, NativeScriptQueues } = loadAddon();
    const queues = new NativeScriptQueues({
      threadName,
      readableBytesMax,
      onChains: () => host.contain(onChains),
    });
    return {
      queues,
      createWorker: (onBroken) =>
        new NativeQueueWorker({ device: 'script', queues, host: nativeHost(host, onBroken) }),
    };
  };
}
