import { availableParallelism, totalmem } from 'node:os';
import type { ContainerLimits } from '../../../container/agent/agent.ts';
import { TsvmError } from '../../../errors.ts';
import { CPUS_MAX } from '../../../machine/config.ts';
import { text } from '../option-values.ts';
import { parseBytes, parseCount, parseCpus } from './option-kinds.ts';

type Options = Readonly<Record<string, unknown>>;

const MIB = 2 ** 20;
/** Docker's. */
const MEMORY_MIN_BYTES = 6 * MIB;
/**
 * Memory of a machine without `-m`: enough for nearly every program. It takes from the host only what
 * the guest uses, and gives back what it frees; but each GiB costs a guest time at its start.
 */
const MEMORY_DEFAULT_BYTES = 2 ** 31;
/** What the guest's kernel and agent need besides the container. */
const MACHINE_RESERVE_BYTES = 48 * MIB;

/** Linux' and Docker's. */
const CPU_PERIOD_US = 100_000;

export interface Resources {
  readonly cpuCount: number;
  readonly machineMemoryBytes: number;
  readonly limits: ContainerLimits;
}

/** `--cpus`, `-m` and their like. @throws UsageError, TsvmError `container-conflict` */
export function resourceOptions(options: Options): Resources {
  const cpus = cpuLimit(options);
  const hostCpus = availableParallelism();
  if (cpus < 0 || cpus > hostCpus) {
    throw new TsvmError(
      'container-conflict',
      `Range of CPUs is from 0.01 to ${hostCpus}.00, as there are only ${hostCpus} CPUs available`,
    );
  }
  const memory = text(options, 'memory');
  const memoryBytes = memory === undefined ? 0 : parseBytes(memory, '-m, --memory');
  if (memoryBytes > 0 && memoryBytes < MEMORY_MIN_BYTES) {
    throw new TsvmError('container-conflict', 'Minimum memory limit allowed is 6MB');
  }
  const pids = text(options, 'pidsLimit');
  const pidsLimit = pids === undefined ? 0 : parseCount(pids, '--pids-limit');
  const shares = text(options, 'cpuShares');
  return {
    cpuCount: Math.min(CPUS_MAX, cpus === 0 ? hostCpus : Math.ceil(cpus)),
    machineMemoryBytes: machineMemory(memoryBytes),
    limits: {
      ...(memoryBytes > 0 && { memoryBytes }),
      // A whole number of CPUs is that of the machine.
      ...(cpus > 0 && !Number.isInteger(cpus) && { cpus }),
      ...(shares !== undefined && { cpuWeight: cpuWeight(parseCount(shares, '-c, --cpu-shares')) }),
      ...(text(options, 'cpusetCpus') !== undefined && { cpuset: text(options, 'cpusetCpus') }),
      ...(pidsLimit > 0 && { pids: pidsLimit }),
    },
  };
}

/** `--cpus`, or a quota of a period of the scheduler in microseconds, as Docker counts them; 0: none. */
function cpuLimit(options: Options): number {
  const cpus = text(options, 'cpus');
  const quota = text(options, 'cpuQuota');
  const period = text(options, 'cpuPeriod');
  const quotaUs = quota === undefined ? 0 : parseCount(quota, '--cpu-quota');
  const periodUs = period === undefined ? 0 : parseCount(period, '--cpu-period');
  if (cpus === undefined) return Math.max(0, quotaUs) / (periodUs > 0 ? periodUs : CPU_PERIOD_US);
  if (quotaUs === 0 && periodUs === 0) return parseCpus(cpus);
  throw new TsvmError(
    'container-conflict',
    `Conflicting options: Nano CPUs and CPU ${quotaUs === 0 ? 'Period' : 'Quota'} cannot both be set.`,
  );
}

function machineMemory(limitBytes: number): number {
  const half = Math.floor(totalmem() / 2 / MIB) * MIB;
  if (limitBytes === 0) return Math.min(MEMORY_DEFAULT_BYTES, Math.max(half, 256 * MIB));
  return Math.ceil((limitBytes + MACHINE_RESERVE_BYTES) / MIB) * MIB;
}

/** From Docker's shares, 2 to 262144, to cgroup v2's weight: kernel documentation, cgroup-v2. */
function cpuWeight(shares: number): number {
  const bounded = Math.min(262_144, Math.max(2, shares));
  return Math.max(1, Math.floor(1 + ((bounded - 2) * 9999) / 262_142));
}
