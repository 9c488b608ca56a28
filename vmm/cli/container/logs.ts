import { isActive } from '../../container/containers/container-state.ts';
import type { LogEntry, LogStream } from '../../container/containers/log-format.ts';
import { readLog } from '../../container/containers/log-reader.ts';
import { TsvmError } from '../../errors.ts';
import { Output } from '../output.ts';
import { OutputDescriptor } from '../output-descriptor.ts';
import { openContainers } from './containers.ts';
import { flag, text } from './option-values.ts';
import { tryParseTime } from './times.ts';
import type { Verb } from './verb.ts';

const LINE_FEED = 0x0a;
const STDOUT = 1;
const STDERR = 2;
/** Output is written in pieces of this size, or when there is no more for now. */
const PIECE_BYTES = 64 * 1024;

export const logsVerb: Verb = {
  usage: 'logs [OPTIONS] CONTAINER',
  argumentsMin: 1,
  argumentsMax: 1,
  help: `
Examples:
  tsvm logs -f web
  tsvm logs --since 10m -t web
  tsvm logs -n 20 web`,
  addOptions: (command) =>
    command
      .option('--details', 'ignored: logs have no details')
      .option('-f, --follow', 'keep showing new output')
      .option(
        '--since <time>',
        'show output since this time: RFC 3339, seconds since 1970, or a duration such as 10m',
      )
      .option('-n, --tail <count>', 'show this number of lines from the end', 'all')
      .option('-t, --timestamps', 'show timestamps')
      .option('--until <time>', 'stop at this time'),
  run: async ([name = ''], options) => {
    const store = openContainers();
    const { config } = await store.find(name);
    if (config.log.driver === 'none') {
      throw new TsvmError(
        'container-conflict',
        'configured logging driver does not support reading',
      );
    }
    const printer = new LogPrinter(flag(options, 'timestamps'));
    const entries = readLog(store.folders.log(config.id), {
      follow: flag(options, 'follow'),
      sinceMs: timeOption(options, 'since'),
      untilMs: timeOption(options, 'until'),
      tail: tailOption(text(options, 'tail') ?? 'all'),
      isRunning: () => {
        const state = store.read(config.id)?.state;
        return state !== undefined && isActive(state) && store.isAlive(config.id);
      },
      onPause: () => printer.flush(),
    });
    for await (const entry of entries) {
      printer.print(entry);
      if (printer.waitingBytes >= PIECE_BYTES) await printer.flush();
    }
    await printer.flush();
    return 0;
  },
};

function timeOption(options: Readonly<Record<string, unknown>>, name: string): number | undefined {
  const value = text(options, name);
  if (value === undefined || value === '') return undefined;
  const ms = tryParseTime(value);
  if (ms !== undefined) return ms;
  throw new TsvmError('container-conflict', `invalid value for "${name}": "${value}" is no time`);
}

/** As Docker: what is no number means all. */
function tailOption(value: string): number | undefined {
  return /^\d+$/.test(value) ? Number(value) : undefined;
}

class LogPrinter {
  readonly #timestamps: boolean;
  readonly #outputs = {
    stdout: new Output(new OutputDescriptor(STDOUT)),
    stderr: new Output(new OutputDescriptor(STDERR)),
  };
  readonly #waiting: Record<LogStream, Uint8Array[]> = { stdout: [], stderr: [] };
  readonly #midLine: Record<LogStream, boolean> = { stdout: false, stderr: false };
  #last: LogStream = 'stdout';
  waitingBytes = 0;

  constructor(timestamps: boolean) {
    this.#timestamps = timestamps;
  }

  print({ bytes, stream, timeMs }: LogEntry): void {
    // What went to both streams comes in order, for those who send both to one place.
    if (stream !== this.#last) this.#send(this.#last);
    this.#last = stream;
    if (this.#timestamps && !this.#midLine[stream]) {
      const time = new Date(timeMs).toISOString().replace('Z', '000000Z');
      this.#waiting[stream].push(Buffer.from(`${time} `));
    }
    this.#midLine[stream] = bytes.at(-1) !== LINE_FEED;
    this.#waiting[stream].push(bytes);
    this.waitingBytes += bytes.byteLength;
  }

  /** Resolves when the readers have taken everything. */
  async flush(): Promise<void> {
    this.#send(this.#last);
    await Promise.all([this.#outputs.stdout.drained(), this.#outputs.stderr.drained()]);
    this.waitingBytes = 0;
  }

  #send(stream: LogStream): void {
    const waiting = this.#waiting[stream];
    if (waiting.length > 0) this.#outputs[stream].write(Buffer.concat(waiting));
    this.#waiting[stream] = [];
  }
}
