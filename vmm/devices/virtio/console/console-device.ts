import type { StateReader, StateValue } from '../../device-state.ts';
import { ConfigSpace } from '../config-space.ts';
import type { ActivationContext, VirtioDevice } from '../device.ts';
import { QUEUE_FEATURES, VIRTIO_F_VERSION_1 } from '../features.ts';
import { type Chain, type CreateScriptQueues, ScriptQueueDevice } from '../script-queues.ts';
import { ControlEvent, encodeControl, encodeSize, parseControl } from './console-control.ts';
import { ConsolePort, type PortHost } from './console-port.ts';

/** Virtio 1.2, section 5.3.3. */
export const VIRTIO_CONSOLE_F_SIZE = 1n << 0n;
export const VIRTIO_CONSOLE_F_MULTIPORT = 1n << 1n;

/** 5.3.4: struct virtio_console_config. */
const COLUMNS = { offset: 0, width: 2 } as const;
const ROWS = { offset: 2, width: 2 } as const;
const MAX_PORTS = { offset: 4, width: 4 } as const;
const CONFIG_BYTES = 12;

/** 5.3.2: port 0, then the control queues, then the other ports; receive before transmit. */
const CONTROL_RECEIVE = 2;
const CONTROL_TRANSMIT = 3;
const QUEUE_SIZE = 64;
/** Linux writes 32 KiB at most. */
const OUTPUT_MAX_BYTES = 32 * 1024;

/** Number of queues of a device with this many named ports. */
export function consoleQueueCount(namedPorts: number): number {
  return 4 + 2 * namedPorts;
}

export interface ConsoleDeviceOptions {
  readonly id: string;
  readonly createQueues: CreateScriptQueues;
  /** The host's side of the console, port 0; undefined: no console. */
  readonly console: PortHost | undefined;
  /** Ports 1, 2, … */
  readonly ports: readonly { readonly name: string; readonly host: PortHost }[];
}

/** A console device (virtio 1.2, section 5.3): a console, and ports with names. */
export class ConsoleDevice extends ScriptQueueDevice implements VirtioDevice {
  readonly id: string;
  readonly deviceId = 3;
  readonly features =
    QUEUE_FEATURES | VIRTIO_F_VERSION_1 | VIRTIO_CONSOLE_F_SIZE | VIRTIO_CONSOLE_F_MULTIPORT;
  readonly queueSizes: readonly number[];
  readonly config = new ConfigSpace(CONFIG_BYTES, { variable: true });
  /** By number; no port 0 without a console. */
  readonly #ports = new Map<number, ConsolePort>();
  readonly #controlMax: number;
  #multiport = false;
  /**
   * The driver's empty buffers by queue, oldest first. They are filled in this order, so none is
   * returned empty, which a guest's program would read as an end of file.
   */
  readonly #buffers = new Map<number, Chain[]>();
  /** Messages that wait for the driver. */
  #control: Uint8Array[] = [];
  readonly #counters = {
    outputBytes: 0,
    inputBytes: 0,
    cutBytes: 0,
    droppedBytes: 0,
    ignoredControls: 0,
    lostControls: 0,
  };

  constructor({ id, createQueues, console, ports }: ConsoleDeviceOptions) {
    super(createQueues, { threadName: 'tsvm-console', readableBytesMax: OUTPUT_MAX_BYTES });
    this.id = id;
    if (console !== undefined) this.#ports.set(0, new ConsolePort(undefined, console));
    for (const [index, { name, host }] of ports.entries()) {
      this.#ports.set(index + 1, new ConsolePort(name, host));
    }
    this.queueSizes = Array.from({ length: consoleQueueCount(ports.length) }, () => QUEUE_SIZE);
    // An orderly driver gets at most these at a time.
    this.#controlMax = 8 * (ports.length + 1);
    this.config.set(MAX_PORTS, ports.length + 1);
  }

  /** Input of the host for a port, which waits until the guest takes it. @returns false to pause */
  receive(number: number, bytes: Uint8Array): boolean {
    const port = this.#ports.get(number);
    if (port === undefined) return true;
    port.receive(bytes);
    this.#sendInput(number, port);
    return port.hasRoom;
  }

  /** The host opens or closes a named port. */
  setHostOpen(number: number, open: boolean): void {
    const port = this.#ports.get(number);
    if (port === undefined || port.hostOpen === open) return;
    port.hostOpen = open;
    if (!open) port.dropInput();
    if (port.ready) this.#tell(number, ControlEvent.PORT_OPEN, open ? 1 : 0);
  }

  /** Sets the size of the console's window in characters. */
  resize(columns: number, rows: number): void {
    this.config.set(COLUMNS, columns);
    this.config.set(ROWS, rows);
    if (this.#multiport) this.#tellSize();
    else this.configChanged();
  }

  override activate(context: ActivationContext): void {
    this.#multiport = (context.features & VIRTIO_CONSOLE_F_MULTIPORT) !== 0n;
    const console = this.#ports.get(0);
    // Without control messages, the console is always there.
    if (!this.#multiport && console !== undefined) console.guestOpen = true;
    super.activate(context);
  }

  override async reset(): Promise<void> {
    await super.reset();
    this.#control = [];
    this.#multiport = false;
    for (const port of this.#ports.values()) port.reset();
  }

  override statistics(): Readonly<Record<string, number>> {
    return { ...super.statistics(), ...this.#counters };
  }

  save(): StateValue {
    return {
      control: this.#control,
      ports: [...this.#ports.values()].map((port) => port.save()),
    };
  }

  load(state: StateReader): void {
    this.#control = state.byteArrays('control', this.#controlMax, 1024);
    const ports = state.list('ports', this.#ports.size);
    for (const [index, port] of [...this.#ports.values()].entries()) {
      const saved = ports[index];
      if (saved !== undefined) port.load(saved);
    }
  }

  protected override serve(chain: Chain): void {
    const { queue } = chain;
    if (queue === CONTROL_TRANSMIT) this.#takeControl(chain);
    else if (queue % 2 === 1) this.#takeOutput(chain);
    else this.#takeBuffer(chain);
  }

  protected override onStop(): void {
    // The newest first: each is then the one that the queue can take back.
    for (const chains of this.#buffers.values()) {
      for (const chain of chains.splice(0).toReversed()) this.giveBack(chain);
    }
  }

  /** Takes a buffer that the device fills. */
  #takeBuffer(chain: Chain): void {
    const { queue, writableBytes } = chain;
    if (writableBytes === 0) {
      this.finish(chain);
      return;
    }
    const chains = this.#buffers.get(queue);
    if (chains === undefined) this.#buffers.set(queue, [chain]);
    else chains.push(chain);
    const number = portOf(queue);
    const port = this.#ports.get(number);
    if (queue === CONTROL_RECEIVE) this.#sendControl();
    else if (port !== undefined) this.#sendInput(number, port);
  }

  /** Fills buffers of the guest with input, if a program of it has the port open. */
  #sendInput(number: number, port: ConsolePort): void {
    const chains = this.#buffers.get(receiveQueue(number)) ?? [];
    while (port.guestOpen && port.inputBytes > 0) {
      const chain = chains.shift();
      if (chain === undefined) return;
      const bytes = port.takeInput(chain.writableBytes);
      this.#counters.inputBytes += bytes.byteLength;
      this.finish(chain, bytes);
      port.announceRoom();
    }
  }

  #takeOutput(chain: Chain): void {
    const { readable, readableBytes, queue } = chain;
    const port = this.#ports.get(portOf(queue));
    this.#counters.cutBytes += readableBytes - readable.byteLength;
    if (port?.hostOpen) {
      this.#counters.outputBytes += readable.byteLength;
      if (!port.host.write(readable)) this.#block(queue, port);
    } else {
      this.#counters.droppedBytes += readable.byteLength;
    }
    this.finish(chain);
  }

  /** Takes no more output of a port until its host has room. */
  #block(queue: number, port: ConsolePort): void {
    if (port.blocked) return;
    port.blocked = true;
    this.want(queue, 0);
    port.host.onceDrained().then(() => {
      port.blocked = false;
      this.want(queue, Number.POSITIVE_INFINITY);
    });
  }

  #sendControl(): void {
    const chains = this.#buffers.get(CONTROL_RECEIVE) ?? [];
    while (this.#control.length > 0) {
      const chain = chains.shift();
      if (chain === undefined) return;
      // A buffer that is too small gets what fits: its driver is at fault.
      this.finish(chain, this.#control.shift()?.subarray(0, chain.writableBytes));
    }
  }

  #takeControl(chain: Chain): void {
    const message = parseControl(chain.readable);
    this.finish(chain);
    const port = message && this.#ports.get(message.port);
    if (message?.event === ControlEvent.DEVICE_READY && message.value === 1) {
      for (const number of this.#ports.keys()) this.#tell(number, ControlEvent.DEVICE_ADD, 1);
    } else if (message?.event === ControlEvent.PORT_READY && message.value === 1 && port) {
      port.ready = true;
      this.#introduce(message.port, port);
    } else if (message?.event === ControlEvent.PORT_OPEN && port) {
      port.guestOpen = message.value !== 0;
      this.#sendInput(message.port, port);
    } else {
      this.#counters.ignoredControls += 1;
    }
  }

  /** Tells a driver what a port is. */
  #introduce(number: number, { name, hostOpen }: ConsolePort): void {
    if (name === undefined) {
      this.#tell(number, ControlEvent.CONSOLE_PORT, 1);
      this.#tellSize();
    } else {
      this.#tell(number, ControlEvent.PORT_NAME, 1, Buffer.from(name));
    }
    if (hostOpen) this.#tell(number, ControlEvent.PORT_OPEN, 1);
  }

  #tellSize(): void {
    const columns = this.config.get(COLUMNS);
    const rows = this.config.get(ROWS);
    if (columns === 0 || rows === 0 || !this.#ports.get(0)?.ready) return;
    this.#tell(0, ControlEvent.RESIZE, 0, encodeSize(columns, rows));
  }

  #tell(port: number, event: number, value: number, data?: Uint8Array): void {
    // A driver that asks again and again and takes no answer.
    if (this.#control.length >= this.#controlMax) this.#counters.lostControls += 1;
    else this.#control.push(encodeControl({ port, event, value }, data));
    this.#sendControl();
  }
}

/** Index of a port's receive queue; its transmit queue follows. */
function receiveQueue(port: number): number {
  return port === 0 ? 0 : 2 * port + 2;
}

function portOf(queue: number): number {
  return queue < 2 ? 0 : Math.floor(queue / 2) - 1;
}
