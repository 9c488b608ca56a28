import { isIP } from 'node:net';
import { BOOLEAN, checkFields, invalid, type Kind, NUMBER, TEXT } from './config-fields.ts';

/** Where GDB connects to the machine: a socket file or a TCP port. {@link GDB_DEFAULTS} has the defaults. */
export interface GdbConfig {
  /** A new socket file, for this user alone. */
  readonly socketPath?: string | undefined;
  /** Numeric, of IPv4 or IPv6. Whoever connects controls the machine. */
  readonly address?: string | undefined;
  /** 0 to 65535; 0: any that is free. */
  readonly port?: number | undefined;
  /** The guest does not execute anything before GDB has connected and continues it. */
  readonly waits?: boolean | undefined;
}

export const GDB_DEFAULTS = { address: '127.0.0.1', waits: false } as const;

export type ResolvedGdb = GdbConfig & { readonly address: string; readonly waits: boolean };

const GDB_FIELDS: Readonly<Record<keyof GdbConfig, Kind>> = {
  socketPath: TEXT,
  address: TEXT,
  port: NUMBER,
  waits: BOOLEAN,
};
const PORT_MAX = 65_535;

/** @throws TsvmError `invalid-config` */
export function resolveGdb(gdb: GdbConfig): ResolvedGdb {
  checkFields('the debugger', gdb, GDB_FIELDS);
  const { socketPath, port, address = GDB_DEFAULTS.address, waits = GDB_DEFAULTS.waits } = gdb;
  if ((socketPath === undefined) === (port === undefined)) {
    invalid('the debugger: give either "socketPath" or "port"');
  }
  if (socketPath === '') invalid('the debugger: its socket has an empty path');
  if (port !== undefined && !(Number.isInteger(port) && port >= 0 && port <= PORT_MAX)) {
    invalid(`the debugger: ${port} is not a port: give a number from 0 to ${PORT_MAX}`);
  }
  if (isIP(address) === 0) {
    invalid(`the debugger: ${address} is not a numeric address of IPv4 or IPv6`);
  }
  return { ...gdb, address, waits };
}
