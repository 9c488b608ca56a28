/** The public API of tsvm. */
export { TsvmError, type TsvmErrorCode } from './errors.ts';
export { type BootContext, bootMachine } from './machine/boot-machine.ts';
export { BootMetrics } from './machine/boot-metrics.ts';
export type {
  DiskConfig,
  ImageDiskConfig,
  JoinedDiskConfig,
  MachineConfig,
} from './machine/config.ts';
export type { SerialEnd } from './machine/legacy-devices.ts';
export type { Machine, MachineEnd, MachineState } from './machine/machine.ts';
export { createLogger, type Logger, type LogLevel } from './observability/logger.ts';
