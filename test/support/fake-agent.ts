/** A guest agent that a test plays, on connections without a machine. */
import { createServer, connect as dial, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import type { TestContext } from 'node:test';
import type { OnVsockConnection, VsockPorts } from '../../vmm/backends/vsock/vsock-ports.ts';
import type { Agent } from '../../vmm/container/agent/agent.ts';
import { connectAgent } from '../../vmm/container/agent/connect-agent.ts';
import { Fields } from '../../vmm/container/agent/frame-writer.ts';
import { FRAME, HELLO, PROTOCOL_VERSION } from '../../vmm/container/agent/protocol.ts';
import { temporaryFolder } from './tsvm-process.ts';

/** The hello of a sound agent. */
export function hello(version: number = PROTOCOL_VERSION): Buffer {
  return new Fields().number(HELLO.VERSION, version).frame(FRAME.HELLO);
}

export interface FakeAgent {
  /** What `connectAgent` takes. */
  readonly ports: VsockPorts;
  /** Connects to the host as the agent does at boot. @returns the guest's end */
  dial(): Promise<Duplex>;
  /** The guest's ends of the connections that the host has made. */
  readonly accepted: AsyncIterator<Socket>;
}

/** Pairs of connected sockets in the place of vsock. */
export async function fakeAgent(test: TestContext): Promise<FakeAgent> {
  const path = join(temporaryFolder(test), 's');
  const queue: Socket[] = [];
  const waiting: ((socket: Socket) => void)[] = [];
  const open = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    open.add(socket);
    socket.on('error', () => {});
    const next = waiting.shift();
    if (next === undefined) queue.push(socket);
    else next(socket);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  test.after(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  const accept = () =>
    new Promise<Socket>((resolve) => {
      const socket = queue.shift();
      if (socket === undefined) waiting.push(resolve);
      else resolve(socket);
    });
  const connect = () =>
    new Promise<Socket>((resolve) => {
      const socket = dial({ path, allowHalfOpen: true }, () => resolve(socket));
      open.add(socket);
    });
  let onConnection: OnVsockConnection | undefined;
  const ports: Pick<VsockPorts, 'connect' | 'listen'> = {
    connect,
    listen: (_port, listener) => {
      onConnection = listener;
      return () => {
        onConnection = undefined;
      };
    },
  };
  return {
    ports: ports as VsockPorts,
    dial: async () => {
      const [host, guest] = await Promise.all([connect(), accept()]);
      if (onConnection === undefined) host.destroy();
      else onConnection(host, { guestPort: 1 });
      return guest;
    },
    accepted: {
      next: async () => ({ value: await accept() }),
    },
  };
}

/** The host's agent, with the guest's end of its control connection. */
export async function connectFakeAgent(
  test: TestContext,
  answerTimeoutMs = 10_000,
): Promise<{ fake: FakeAgent; agent: Agent; control: Duplex }> {
  const fake = await fakeAgent(test);
  const connected = connectAgent(fake.ports, { answerTimeoutMs });
  const control = await fake.dial();
  control.write(hello());
  return { fake, agent: await connected, control };
}
