import { checkFields, invalid, type Kind, TEXT } from './config-fields.ts';

/** Most named ports of a machine. */
const PORTS_MAX = 16;

/** What the kernel's console is: a serial port, or a virtio device (`hvc0`). */
export const CONSOLE_DEVICES = ['serial', 'virtio'] as const;
export type ConsoleDeviceKind = (typeof CONSOLE_DEVICES)[number];

/** A port of the guest that programs of the host reach by a socket. */
export interface PortConfig {
  /** What the guest's programs know it by: 1 to 64 letters, digits, `.`, `_` and `-`. */
  readonly name: string;
  /** A new socket file. It takes one client at a time. */
  readonly socketPath: string;
}

const PORT_FIELDS: Readonly<Record<keyof PortConfig, Kind>> = { name: TEXT, socketPath: TEXT };
/** udev makes it a file name. */
const PORT_NAME = /^[a-zA-Z0-9][\w.-]{0,63}$/;

/** @throws TsvmError `invalid-config` */
export function resolvePorts(ports: readonly PortConfig[]): readonly PortConfig[] {
  if (ports.length > PORTS_MAX) invalid(`${ports.length} ports: ${PORTS_MAX} at most`);
  const names = new Set<string>();
  for (const port of ports) {
    checkFields('the port', port, PORT_FIELDS);
    const { name, socketPath } = port;
    if (!PORT_NAME.test(name ?? '')) {
      invalid(
        `the port ${JSON.stringify(name)}: give a name of up to 64 letters, digits, ".", "_" and "-", ` +
          'beginning with a letter or a digit',
      );
    }
    if (!socketPath) invalid(`the port ${name} has no "socketPath": name its socket`);
    if (names.has(name)) invalid(`two ports have the name ${name}`);
    names.add(name);
  }
  return ports;
}
