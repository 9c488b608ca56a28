import { existsSync, readlinkSync, writeFileSync } from 'node:fs';
import { errorText } from '../errors.ts';
import type { ConsoleBackend } from '../machine/assembly.ts';
import { bootMachine } from '../machine/boot-machine.ts';
import { BootMetrics } from '../machine/boot-metrics.ts';
import { type MachineConfig, type ResolvedConfig, resolveConfig } from '../machine/config.ts';
import { ConsoleHub, type LocalInput } from '../machine/console-hub.ts';
import type { MachineHandle } from '../machine/machine.ts';
import { presentConfig } from '../machine/machine-controls.ts';
import type { MachineEnd } from '../machine/machine-end.ts';
import {
  enterSandbox,
  type PreparedSandbox,
  prepareSandbox,
  type SandboxState,
  sandboxOf,
} from '../machine/process-sandbox.ts';
import { superviseMachine } from '../machine/supervisor.ts';
import { createLogger, type Logger, type LogLevel } from '../observability/logger.ts';
import { fsPath } from '../util/byte-names.ts';
import { refuseInput } from './console-file.ts';
import type { Detached } from './detached-process.ts';
import { Ending } from './ending.ts';
import { endKey } from './escape-keys.ts';
import { EXIT_GUEST_CRASHED, EXIT_OUR_FAILURE, EXIT_POWEROFF } from './exit-codes.ts';
import { type ConsoleKind, openHostConsole } from './host-console.ts';
import { MachinePresence } from './machine-presence.ts';
import { isTerminal } from './output-descriptor.ts';
import type { RawTerminal } from './raw-terminal.ts';
import { handleFaults } from './run-to-exit.ts';
import { SignOfLife } from './sign-of-life.ts';
import { prepareMessages, printMessage } from './standard-streams.ts';
import { versionNumber } from './version.ts';
import { onWindowSize } from './window-size.ts';

/** Options of `tsvm boot` that do not configure the machine. */
export interface RunOptions {
  readonly name: string | undefined;
  /** Set in a background process. */
  readonly detached: Detached | undefined;
  readonly console: ConsoleKind | undefined;
  readonly onReboot: 'exit' | 'restart';
  readonly logLevel: LogLevel;
  readonly metricsPath: string | undefined;
  /** Files and folders that the sandbox leaves to the process, besides those that it needs itself. */
  readonly sandboxFiles: readonly string[];
}

/** Time for the reader of the console to take the remaining output when the machine must end. */
const OUTPUT_GRACE_MS = 500;

/**
 * Loading Node's modules for standard input and for sockets takes milliseconds each, which must not
 * delay the guest's first output: both wait this long after the machine's start.
 */
const INPUT_DELAY_MS = 10;
const LISTEN_DELAY_MS = 20;

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;

/**
 * Runs a machine until it ends, with restarts.
 * @returns the exit code
 */
export async function runBoot(machine: MachineConfig, options: RunOptions): Promise<number> {
  const config = resolveConfig(machine);
  prepareMessages();
  const metrics = new BootMetrics();
  let terminal: RawTerminal | undefined;
  // In raw mode the terminal does not add a carriage return to a line feed.
  const lineEnd = () => (terminal?.raw && isTerminal(STDERR) ? '\r\n' : '\n');
  const logger = createLogger(options.logLevel, (line) => printMessage(line + lineEnd()));
  const onLate = () => logger.error('the machine did not end in time: ending it now');
  const ending = new Ending(onLate);
  handleFaults((error) => {
    logger.error(errorText(error));
    ending.fail(EXIT_OUR_FAILURE, onLate);
  });
  // Runs however the process ends, even on an uncaught error.
  process.once('exit', () => terminal?.restore());

  const sandbox = sandboxOf(config, options.onReboot === 'restart');
  const console = options.console ?? { kind: defaultConsole(options) };
  await checkTargets(config, console, options.metricsPath);
  const run: Omit<Run, 'hub' | 'input'> = {
    ...{ config, options, logger, metrics, ending },
    presence: await openNamedPresence(options),
    sandbox,
    prepared: undefined,
  };
  try {
    const hostConsole = await openHostConsole(console, {
      logger,
      signal: ending.signal,
      keys: [endKey(() => ending.request())],
      onRaw: (opened) => {
        terminal = opened;
      },
    });
    ending.signal.addEventListener('abort', () =>
      setTimeout(() => hostConsole.abandonOutput(), OUTPUT_GRACE_MS).unref(),
    );
    const input = new LateInput(hostConsole);
    const hub = new ConsoleHub(input, LOCAL_INPUTS[console.kind]);
    try {
      return await runUntilDone(Object.assign(run, { hub, input }));
    } finally {
      hub.end();
      await hostConsole.close();
    }
  } catch (error) {
    // After a request to end, errors are its consequence; the requested exit code counts.
    if (ending.code === undefined) throw error;
    return ending.code;
  } finally {
    run.presence?.close();
    if (options.metricsPath !== undefined) {
      const { writeMetricsFile } = await import('./metrics-file.ts');
      await writeMetricsFile(options.metricsPath, machineName(options), metrics, logger);
    }
  }
}

const LOCAL_INPUTS: Readonly<Record<ConsoleKind['kind'], LocalInput>> = {
  tty: 'terminal',
  stdio: 'stream',
  file: 'none',
  none: 'none',
};

function defaultConsole({ detached }: RunOptions): 'tty' | 'stdio' | 'none' {
  if (detached !== undefined) return 'none';
  return isTerminal(STDIN) && isTerminal(STDOUT) ? 'tty' : 'stdio';
}

function machineName({ name }: RunOptions): string {
  return name ?? `vm-${process.pid}`;
}

/** Takes the name that was asked for. A machine without one gets it later. */
async function openNamedPresence(options: RunOptions) {
  const { detached } = options;
  // A background process that nobody can find would be of no use.
  if (options.name === undefined && detached === undefined) return undefined;
  const name = machineName(options);
  return await MachinePresence.open(name, detached?.logPath(name));
}

/** Checks the output files before anything is written. */
async function checkTargets(
  { kernelPath, rootKernelPath, modulesPath, initrdPath, disks, cloudInit = {} }: ResolvedConfig,
  console: ConsoleKind,
  metricsPath: string | undefined,
): Promise<void> {
  const diskFiles = disks.flatMap((disk) => ('files' in disk ? disk.files : [disk.path]));
  const { userDataPath, metaDataPath, networkConfigPath, sshKeyPaths = [] } = cloudInit;
  const inputs = [
    ...[kernelPath, rootKernelPath, modulesPath, initrdPath, ...diskFiles],
    ...[userDataPath, metaDataPath, networkConfigPath, ...sshKeyPaths],
  ];
  const consolePath = console.kind === 'file' ? console.path : undefined;
  refuseInput('--console', consolePath, inputs);
  refuseInput('--metrics', metricsPath, [...inputs, consolePath]);
  if (metricsPath === undefined) return;
  const { checkMetricsFile } = await import('./metrics-file.ts');
  checkMetricsFile(metricsPath);
}

interface Run {
  /** With what the user has changed while the machine ran. */
  config: ResolvedConfig;
  readonly options: RunOptions;
  readonly hub: ConsoleHub;
  readonly input: LateInput;
  /** Opened late for a machine without a name. */
  presence: MachinePresence | undefined;
  readonly logger: Logger;
  readonly metrics: BootMetrics;
  readonly ending: Ending;
  sandbox: SandboxState;
  /** Where the sandbox reaches the process, once a machine has been begun. */
  prepared: PreparedSandbox | undefined;
}

/** Runs the machine until it ends for good. */
async function runUntilDone(run: Run): Promise<number> {
  const { options, hub, input, logger, metrics, ending } = run;
  const { config } = run;
  const { signal } = ending;
  const hasTerminal = config.console === 'virtio' && isTerminal(STDIN) && isTerminal(STDOUT);
  let signOfLife: SignOfLife | undefined;
  let current: MachineHandle | undefined;
  let listens = false;
  const listen = () => startControl(run, () => current);
  try {
    const { end, closed } = await superviseMachine({
      boot: () => {
        signOfLife?.stop();
        const sign = new SignOfLife(
          logger,
          () => 'preparing the kernel; it is unpacked once and cached',
        );
        signOfLife = sign;
        const console = watched(hub, () => sign.stop());
        const booting = bootMachine(run.config, { console, logger, metrics, signal });
        return run.sandbox.reach === 'process' ? bootConfined(run, booting) : booting;
      },
      restartsOnReset: options.onReboot === 'restart',
      logger,
      signal,
      onBooted: async (machine) => {
        current = machine;
        if (run.prepared !== undefined) confine(run, run.prepared);
        input.open(INPUT_DELAY_MS);
        // Not after a restart: the control socket is there already.
        if (!listens) {
          listens = true;
          if (options.detached === undefined) setTimeout(listen, LISTEN_DELAY_MS).unref();
          else listen();
        }
        if (hasTerminal)
          onWindowSize((columns, rows) => current?.controls.resizeConsole?.(columns, rows));
        signOfLife?.turnTo(() => bootingText(metrics));
        if (options.console?.kind === 'none') signOfLife?.stop();
      },
      onEnded: (machine) => {
        current = undefined;
        run.config = presentConfig(run.config, machine.controls);
        metrics.addMachine(machine);
      },
    });
    if (ending.code !== undefined) {
      if (options.detached) logger.info('the machine was ended by "tsvm kill" or a signal');
      return ending.code;
    }
    const code = exitCode(end, logger);
    if (options.detached) logger.info(`the machine has ended (${end.reason})`);
    return code === EXIT_POWEROFF && !closed ? EXIT_OUR_FAILURE : code;
  } finally {
    signOfLife?.stop();
  }
}

/** Opens the presence of a machine without a name. */
async function openPresence(run: Run): Promise<MachinePresence | undefined> {
  if (run.presence === undefined) {
    run.presence = await MachinePresence.tryOpen(machineName(run.options), run.logger);
  }
  return run.presence;
}

/** Prepares the sandbox of this process, while KVM creates the machine's VM. */
async function bootConfined(run: Run, booting: Promise<MachineHandle>): Promise<MachineHandle> {
  // What it rejects with is told below.
  booting.catch(() => {});
  try {
    await prepareConfinement(run);
  } catch (error) {
    await booting.then(
      (machine) => machine.close(),
      () => {},
    );
    throw error;
  }
  return await booting;
}

async function prepareConfinement(run: Run): Promise<void> {
  const { metricsPath, sandboxFiles } = run.options;
  const presence = await openPresence(run);
  // A file must be there to be left to a sandbox.
  if (metricsPath !== undefined && !existsSync(fsPath(metricsPath))) {
    writeFileSync(fsPath(metricsPath), '', { flag: 'wx' });
  }
  run.prepared = prepareSandbox(run.config, {
    folder: presence?.path,
    terminal: isTerminal(STDIN) ? readlinkSync('/proc/self/fd/0') : undefined,
    later: metricsPath === undefined ? sandboxFiles : [...sandboxFiles, metricsPath],
  });
}

/** Confines this process for good. */
function confine(run: Run, prepared: PreparedSandbox): void {
  const { state, finish } = enterSandbox(run.config, prepared);
  run.sandbox = state;
  if (state.reason !== undefined) run.logger.debug(`sandbox: ${state.reason}`);
  // After the presence has removed its files.
  process.once('exit', finish);
}

/** Lets other processes control the machine. */
async function startControl(run: Run, current: () => MachineHandle | undefined): Promise<void> {
  const { options, hub, logger, ending } = run;
  const presence = await openPresence(run);
  if (presence === undefined) return;
  const { name, startedMs } = presence;
  const { detached } = options;
  const kill = () => ending.request();
  const version = versionNumber();
  const logPath = detached?.logPath(name);
  const target = {
    ...{ name, version, startedMs, logPath, console: hub, current, kill },
    get config() {
      return run.config;
    },
    get sandbox() {
      return run.sandbox;
    },
  };
  const listens = await presence.listen(target, logger);
  if (detached === undefined) return;
  if (listens) detached.ready(name);
  else ending.fail(EXIT_OUR_FAILURE, () => {});
}

function bootingText({ kernelMode }: BootMetrics): string {
  const reason = kernelMode === 'emulator' ? ' (KVM’s emulator runs it, which is slow)' : '';
  return `the guest is booting, without output so far${reason}; --append earlyprintk=ttyS0 shows the kernel’s first messages`;
}

/** Wraps a console whose input is started later than the machine asks for it. */
class LateInput implements ConsoleBackend {
  readonly #console: ConsoleBackend;
  #start = () => {};

  constructor(console: ConsoleBackend) {
    this.#console = console;
  }

  write(bytes: Uint8Array): boolean {
    return this.#console.write(bytes);
  }

  onceDrained(): Promise<void> {
    return this.#console.onceDrained();
  }

  startInput(receive: (bytes: Uint8Array) => boolean, onEnd?: () => void): void {
    this.#start = () => this.#console.startInput(receive, onEnd);
  }

  resumeInput(): void {
    this.#console.resumeInput();
  }

  /** Starts the input that has been asked for after `delayMs`. */
  open(delayMs: number): void {
    setTimeout(this.#start, delayMs);
  }
}

/** Wraps a console and reports the guest's first output. */
function watched(console: ConsoleBackend, onFirstOutput: () => void): ConsoleBackend {
  let heard = false;
  return {
    write: (bytes) => {
      if (!heard) onFirstOutput();
      heard = true;
      return console.write(bytes);
    },
    onceDrained: () => console.onceDrained(),
    startInput: (receive, onEnd) => console.startInput(receive, onEnd),
    resumeInput: () => console.resumeInput(),
  };
}

function exitCode(end: MachineEnd, logger: Logger): number {
  switch (end.reason) {
    case 'poweroff':
    case 'reset':
      return EXIT_POWEROFF;
    case 'panic':
      logger.error('the guest’s kernel panicked; its last messages show the reason');
      return EXIT_GUEST_CRASHED;
    case 'triple-fault':
      logger.error('a vCPU had a triple fault');
      return EXIT_GUEST_CRASHED;
    case 'failed':
      logger.error(end.message);
      return EXIT_OUR_FAILURE;
    case 'stopped':
      return EXIT_POWEROFF;
  }
}
