import { errorText, TsvmError } from '../../errors.ts';
import type { GuestProcess } from '../agent/agent.ts';
import { type AttachedClient, type ClientRequests, terminalSize } from './attached-client.ts';
import { ProcessStreams } from './container-streams.ts';
import type { ContainerSupervisor } from './container-supervisor.ts';
import { type ExecRequest, execProcess } from './process-specs.ts';
import { parseSignal } from './signals.ts';
import { startFailure } from './start-failure.ts';

/** What a client asks for at first: an exec, and whether it wants its streams. */
interface ExecMessage extends ExecRequest {
  readonly type: 'exec';
  readonly detach?: boolean;
}

/**
 * Serves a client that wants to run a process in the container. The process goes on when the client
 * leaves.
 * @param connect makes the client of the connection; it may have sent its first message already
 */
export function runExec(
  supervisor: ContainerSupervisor,
  connect: (requests: ClientRequests) => AttachedClient,
): void {
  let process: GuestProcess | undefined;
  const { agent } = supervisor.machine;
  const ignore = () => {};
  const client: Promise<AttachedClient> = Promise.resolve().then(() =>
    connect({
      closed: () => {},
      message: (message) => {
        if (message['type'] === 'exec') {
          client
            .then((connected) =>
              start(supervisor, connected, message as unknown as ExecMessage, (started) => {
                process = started;
              }),
            )
            .catch(ignore);
          return;
        }
        if (process === undefined) return;
        const size = terminalSize(message);
        const { signal } = message;
        if (message['type'] === 'resize' && size !== undefined) {
          agent.resize(process, size).catch(ignore);
        } else if (message['type'] === 'signal' && typeof signal === 'string') {
          agent.signal(process, parseSignal(signal)).catch(ignore);
        }
      },
    }),
  );
  client.catch(ignore);
}

async function start(
  supervisor: ContainerSupervisor,
  client: AttachedClient,
  request: ExecMessage,
  onStarted: (process: GuestProcess) => void,
): Promise<void> {
  const { args, detach = false, stdin = false } = request;
  const streams = new ProcessStreams();
  try {
    const { agent } = supervisor.machine;
    supervisor.tell(`exec_start: ${args.join(' ')}`);
    if (!detach) client.attach(streams, { stdin, stdout: true, stderr: true, endsInput: true });
    const process = await agent.startProcess(execProcess(supervisor.config, request));
    onStarted(process);
    client.send({ type: 'started' });
    const drained = streams.connect(process);
    if (detach) client.end();
    const end = await process.ended;
    await drained;
    const exitCode = 'exitCode' in end ? end.exitCode : 128 + end.signal;
    supervisor.tell('exec_die', { exitCode: String(exitCode) });
    client.send({ type: 'exited', exitCode });
  } catch (error) {
    const { exitCode, message } = startFailure(error, args[0] ?? '');
    const text = error instanceof TsvmError ? errorText(error) : message;
    client.send({ type: 'failed', exitCode, message: text });
  }
  client.end();
}
