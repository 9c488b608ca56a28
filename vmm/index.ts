/** The public API of tsvm. */
export type { OnVsockConnection, VsockPorts } from './backends/vsock/vsock-ports.ts';
export { TsvmError, type TsvmErrorCode } from './errors.ts';
export type { ConsoleBackend } from './machine/assembly.ts';
export { type BootContext, bootMachine } from './machine/boot-machine.ts';
export { BootMetrics } from './machine/boot-metrics.ts';
export type { CloudInitConfig } from './machine/cloud-init/cloud-init-config.ts';
export type {
  DiskConfig,
  ImageDiskConfig,
  JoinedDiskConfig,
  MachineConfig,
  VsockConfig,
} from './machine/config.ts';
export type { GdbConfig } from './machine/gdb-config.ts';
export type { MachineHandle as Machine, MachineState } from './machine/machine.ts';
export type {
  DiskControls,
  HotplugControls,
  MachineControls,
  NetControls,
  RemovalOptions,
} from './machine/machine-controls.ts';
export type { MachineEnd } from './machine/machine-end.ts';
export type { NetConfig, TapNetConfig, UserNetConfig } from './machine/net-config.ts';
export type { RateLimits } from './machine/rate-limits.ts';
export type { ShareConfig } from './machine/share-config.ts';
export { createLogger, type Logger, type LogLevel } from './observability/logger.ts';
