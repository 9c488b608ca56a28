/** One client's session: "Debugging with GDB", appendices E.2 to E.11. All vCPUs stop together. */
import { errorText } from '../errors.ts';
import type { Breakpoint } from './breakpoints.ts';
import { runMonitorCommand } from './monitor.ts';
import { encodePacket, fromHex, PACKET_BYTES_MAX, PacketDecoder, toHex } from './packets.ts';
import { REGISTERS, registerNumber } from './registers.ts';
import { ERROR_INVALID, StoppedCpus } from './stopped-cpus.ts';
import { CAUSE_REGISTERS, type CpuStop, type DebugTarget } from './target.ts';
import { targetDescription } from './target-description.ts';

const SIGINT = 2;
const SIGTRAP = 5;
/** Sent with each stop, so that GDB need not ask for them. */
const EXPEDITED = ['rip', 'rsp', 'rbp'];
/** How often an answer is repeated for a client that says it was garbled. */
const REPEATS_MAX = 8;

/** What a session needs of its connection. */
export interface Connection {
  send(bytes: Uint8Array): void;
  close(): void;
}

export class GdbSession {
  readonly #target: DebugTarget;
  readonly #connection: Connection;
  readonly #cpus: StoppedCpus;
  readonly #decoder = new PacketDecoder();
  /** Packets that came while the vCPUs were about to stop. */
  readonly #queue: string[] = [];
  #state: 'halting' | 'stopped' | 'running' | 'closed' = 'halting';
  #interrupted = false;
  #left: Promise<void> | undefined;
  #acks = true;
  #lastAnswer: Uint8Array | undefined;
  #repeats = 0;
  #lastStop = '';
  /** Data that was hit by other vCPUs than the one reported: reported before anything runs. */
  #watchHits: CpuStop[] = [];
  /** The client wants to know which kind of breakpoint it was. */
  #namesKinds = false;
  /** The vCPU that `s` steps. */
  #steppedCpu = 0;

  constructor(target: DebugTarget, connection: Connection) {
    this.#target = target;
    this.#connection = connection;
    this.#cpus = new StoppedCpus(target);
  }

  /** Stops the machine, which a client expects to find stopped. */
  async start(): Promise<void> {
    await this.#target.halt();
    if (this.#state !== 'halting') return;
    this.#lastStop = this.#stopReply(SIGTRAP, 0);
    this.#enterStopped();
  }

  receive(bytes: Uint8Array): void {
    for (const event of this.#decoder.push(bytes)) {
      if (this.#state === 'closed') return;
      switch (event.kind) {
        case 'packet':
          if (this.#acks) this.#connection.send(Buffer.from('+'));
          this.#take(event.payload);
          break;
        case 'bad':
          if (this.#acks) this.#connection.send(Buffer.from('-'));
          break;
        case 'nak':
          this.#repeat();
          break;
        case 'ack':
          this.#repeats = 0;
          break;
        case 'interrupt':
          this.#interrupt();
          break;
      }
    }
  }

  /** The vCPUs have stopped; `stops` has those that did so by themselves. */
  stopped(stops: readonly CpuStop[]): void {
    if (this.#state !== 'running' || (stops.length === 0 && !this.#interrupted)) return;
    this.#interrupted = false;
    this.#cpus.breakpoints.disarm();
    this.#cpus.forget();
    const watchHits = stops.filter(({ causes }) => (causes & CAUSE_REGISTERS) !== 0);
    const [first = stops[0], ...rest] = watchHits;
    this.#watchHits.push(...rest);
    this.#report(first);
  }

  /** The machine has ended. */
  ended(code: number): void {
    if (this.#state === 'closed') return;
    if (this.#state === 'running') this.#answer(`W${hexByte(code)}`);
    this.#state = 'closed';
    this.#connection.close();
  }

  /** The client is gone, or leaves: the guest goes on without breakpoints. */
  async leave(): Promise<void> {
    if (this.#state === 'closed') return this.#left;
    this.#state = 'closed';
    this.#left = this.#target.halt().then(() => {
      this.#cpus.breakpoints.disarm();
      this.#cpus.breakpoints.clear();
      this.#cpus.breakpoints.arm();
      this.#target.resume(this.#all(), 0);
    });
    return this.#left;
  }

  #enterStopped(): void {
    this.#state = 'stopped';
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      this.#take(next);
    }
  }

  #take(payload: string): void {
    if (this.#state === 'halting') {
      // A client waits for each answer.
      if (this.#queue.length < 4) this.#queue.push(payload);
      return;
    }
    // Nothing can be asked of vCPUs that run.
    const answer = this.#state === 'running' ? ERROR_INVALID : this.#execute(payload);
    if (answer !== undefined) this.#answer(answer);
  }

  /** @returns the answer, or undefined if it comes later or never */
  #execute(payload: string): string | undefined {
    try {
      return this.#command(payload[0] ?? '', payload.slice(1));
    } catch (error) {
      // The machine has ended, or KVM has refused something.
      return this.#namesKinds ? `E.${errorText(error).split('\n', 1)[0]}` : ERROR_INVALID;
    }
  }

  #command(letter: string, rest: string): string | undefined {
    switch (letter) {
      case '?':
        return this.#lastStop;
      case 'g':
        return this.#cpus.readAll();
      case 'G':
        return this.#cpus.writeAll(rest);
      case 'p':
        return this.#cpus.readOne(rest);
      case 'P':
        return this.#cpus.writeOne(rest);
      case 'm':
        return this.#cpus.readMemory(rest);
      case 'M':
      case 'X':
        return this.#cpus.writeMemory(rest, letter === 'X');
      case 'Z':
      case 'z':
        return this.#cpus.changeBreakpoint(rest, letter === 'Z');
      case 'H':
        return this.#selectThread(rest);
      case 'T':
        return this.#threadOf(rest) === undefined ? ERROR_INVALID : 'OK';
      case 'c':
      case 's':
        return this.#continueAt(rest, letter === 's');
      case 'C':
      case 'S':
        // Signals mean nothing to a kernel.
        return this.#continueAt(rest.replace(/^[^;]*;?/, ''), letter === 'S');
      case 'v':
        return this.#longCommand(rest);
      case 'q':
        return this.#query(rest);
      case 'Q':
        return this.#set(rest);
      case 'D':
        this.#answer('OK');
        void this.leave().finally(() => this.#connection.close());
        return undefined;
      case 'k':
        this.#target.kill();
        return undefined;
      default:
        return '';
    }
  }

  #longCommand(text: string): string | undefined {
    if (text === 'Cont?') return 'vCont;c;C;s;S';
    if (text.startsWith('Cont;')) return this.#continueThreads(text.slice('Cont;'.length));
    if (text === 'Kill' || text.startsWith('Kill;')) {
      this.#answer('OK');
      this.#target.kill();
      return undefined;
    }
    return '';
  }

  #query(text: string): string {
    const [name = '', ...rest] = text.split(':');
    if (name === 'Supported') {
      this.#namesKinds = rest.join(':').split(';').includes('swbreak+');
      return (
        `PacketSize=${PACKET_BYTES_MAX.toString(16)};QStartNoAckMode+;vContSupported+;` +
        'swbreak+;hwbreak+;qXfer:features:read+;qXfer:threads:read+'
      );
    }
    if (name === 'Xfer') return this.#transfer(rest);
    if (text === 'C') return `QC${threadId(this.#cpus.cpu)}`;
    if (text === 'fThreadInfo') return `m${this.#allCpus().map(threadId).join(',')}`;
    if (text === 'sThreadInfo') return 'l';
    if (text.startsWith('ThreadExtraInfo,')) {
      const cpu = this.#threadOf(text.slice('ThreadExtraInfo,'.length));
      return cpu === undefined ? ERROR_INVALID : toHex(Buffer.from(`vCPU ${cpu}`));
    }
    // So that GDB detaches when it quits, and does not end the machine.
    if (text === 'Attached') return '1';
    if (text.startsWith('Rcmd,')) {
      const command = fromHex(text.slice('Rcmd,'.length));
      if (command === undefined) return ERROR_INVALID;
      return toHex(runMonitorCommand(Buffer.from(command).toString('latin1'), this.#cpus));
    }
    return name === 'Symbol' ? 'OK' : '';
  }

  #set(text: string): string | undefined {
    if (text !== 'StartNoAckMode') return '';
    this.#answer('OK');
    this.#acks = false;
    return undefined;
  }

  /** `qXfer:OBJECT:read:ANNEX:OFFSET,LENGTH` */
  #transfer([object, operation, annex, range]: readonly string[]): string {
    const [, from = '', length = ''] = /^([\da-f]{1,8}),([\da-f]{1,8})$/i.exec(range ?? '') ?? [];
    if (operation !== 'read') return '';
    const text =
      object === 'features' && annex === 'target.xml'
        ? targetDescription()
        : object === 'threads' && annex === ''
          ? this.#threadList()
          : undefined;
    if (text === undefined) return 'E00';
    if (from === '') return ERROR_INVALID;
    const start = parseInt(from, 16);
    const end = start + Math.min(parseInt(length, 16), PACKET_BYTES_MAX / 2);
    return `${end < text.length ? 'm' : 'l'}${text.slice(start, end)}`;
  }

  #threadList(): string {
    const threads = this.#allCpus().map(
      (cpu) => `<thread id="${threadId(cpu)}" name="vCPU ${cpu}"/>`,
    );
    return `<?xml version="1.0"?><threads>${threads.join('')}</threads>`;
  }

  #selectThread(text: string): string {
    const id = text.slice(1);
    const cpu = id === '0' || id === '-1' ? this.#cpus.cpu : this.#threadOf(id);
    if (cpu === undefined) return ERROR_INVALID;
    if (text.startsWith('c')) this.#steppedCpu = cpu;
    else if (text.startsWith('g')) this.#cpus.select(cpu);
    else return '';
    return 'OK';
  }

  #continueAt(address: string, steps: boolean): string | undefined {
    const cpu = this.#steppedCpu;
    if (address !== '') {
      const digits = fromHex(address.padStart(16, '0'));
      if (digits === undefined) return ERROR_INVALID;
      this.#cpus.select(cpu);
      const value = toHex(Uint8Array.from(digits).reverse());
      const outcome = this.#cpus.writeOne(`${registerNumber('rip').toString(16)}=${value}`);
      if (outcome !== 'OK') return outcome;
    }
    const bit = bitOf(cpu);
    return this.#resume(steps ? bit : this.#all(), steps ? bit : 0);
  }

  /** `ACTION[:THREAD];...`: the first that names a thread counts, or the one without a thread. */
  #continueThreads(text: string): string | undefined {
    let running = 0;
    let stepping = 0;
    let decided = 0;
    for (const action of text.split(';')) {
      const [, letter, thread] = /^([cCsS])[\da-f]{0,2}(?::(-?[\da-f]+))?$/i.exec(action) ?? [];
      if (letter === undefined) return ERROR_INVALID;
      const cpu = thread === undefined || thread === '-1' ? undefined : this.#threadOf(thread);
      if (cpu === undefined && thread !== undefined && thread !== '-1') return ERROR_INVALID;
      const mask = (cpu === undefined ? this.#all() : bitOf(cpu)) & ~decided;
      decided |= mask;
      running |= mask;
      if (letter === 's' || letter === 'S') stepping |= mask;
    }
    return this.#resume(running >>> 0, stepping >>> 0);
  }

  #resume(running: number, stepping: number): undefined {
    this.#state = 'running';
    const missed = this.#watchHits.shift();
    if (missed !== undefined) {
      this.#report(missed);
      return;
    }
    this.#cpus.forget();
    try {
      this.#cpus.breakpoints.arm();
      this.#target.resume(running, stepping);
    } catch (error) {
      this.#state = 'stopped';
      this.#cpus.breakpoints.disarm();
      throw error;
    }
  }

  #interrupt(): void {
    if (this.#state !== 'running' || this.#interrupted) return;
    this.#interrupted = true;
    // Nothing can be read of a machine that has ended meanwhile.
    this.#target
      .halt()
      .then(() => this.stopped([]))
      .catch(() => this.#connection.close());
  }

  /** Tells the client of a stop; without one, it has interrupted the machine. */
  #report(stop: CpuStop | undefined): void {
    this.#cpus.select(stop?.cpu ?? this.#cpus.cpu);
    this.#steppedCpu = this.#cpus.cpu;
    const hit = stop && this.#cpus.breakpoints.hit(stop, this.#cpus.registers.number('rip'));
    this.#lastStop = this.#stopReply(stop ? SIGTRAP : SIGINT, this.#cpus.cpu, hit);
    this.#answer(this.#lastStop);
    this.#enterStopped();
  }

  #stopReply(signal: number, cpu: number, hit?: Breakpoint): string {
    const registers = EXPEDITED.map((name) => {
      const number = registerNumber(name);
      const register = REGISTERS[number];
      const value = register && toHex(this.#cpus.registers.read(register));
      return `${hexByte(number)}:${value};`;
    });
    const reason = hit === undefined ? '' : this.#reasonOf(hit);
    return `T${hexByte(signal)}thread:${threadId(cpu)};${reason}${registers.join('')}`;
  }

  #reasonOf({ kind, va }: Breakpoint): string {
    if (kind === 'write') return `watch:${va.toString(16)};`;
    if (kind === 'access') return `awatch:${va.toString(16)};`;
    if (!this.#namesKinds) return '';
    return kind === 'software' ? 'swbreak:;' : 'hwbreak:;';
  }

  #answer(payload: string): void {
    this.#lastAnswer = encodePacket(payload);
    this.#connection.send(this.#lastAnswer);
  }

  #repeat(): void {
    if (!this.#acks || this.#lastAnswer === undefined) return;
    if (this.#repeats++ < REPEATS_MAX) this.#connection.send(this.#lastAnswer);
    else this.#connection.close();
  }

  #threadOf(text: string): number | undefined {
    const cpu = /^[\da-f]{1,4}$/i.test(text) ? parseInt(text, 16) - 1 : -1;
    return cpu >= 0 && cpu < this.#target.cpus ? cpu : undefined;
  }

  #allCpus(): number[] {
    return Array.from({ length: this.#target.cpus }, (_, cpu) => cpu);
  }

  #all(): number {
    return 2 ** this.#target.cpus - 1;
  }
}

function bitOf(cpu: number): number {
  return 2 ** cpu;
}

function threadId(cpu: number): string {
  return (cpu + 1).toString(16);
}

function hexByte(value: number): string {
  return value.toString(16).padStart(2, '0');
}
