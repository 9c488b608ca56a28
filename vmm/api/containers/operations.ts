/** The API of the process that runs a container, version 1. Within a version, fields are only added. */
import type { ApiInfo } from '../http/openapi.ts';
import type { Operations } from '../http/operation.ts';

export const CONTAINER_API: ApiInfo = {
  title: 'tsvm container control',
  description:
    'Controls one running container. Streams are framed as in ' +
    "vmm/container/containers/stream-frames.ts: Docker's multiplexed streams, with messages besides.",
  version: '1.0.0',
  basePath: '/v1',
};

const STREAM_PROTOCOL = 'tsvm-container';
/** A tar archive. */
const ARCHIVE_PROTOCOL = 'tsvm-archive';
const YES_NO = { type: 'string', enum: ['yes', 'no'] } as const;

export const CONTAINER_OPERATIONS = {
  attach: {
    method: 'POST',
    path: '/attach',
    summary: "Connects to the streams of the container's process.",
    query: {
      type: 'object',
      properties: { stdin: YES_NO, stdout: YES_NO, stderr: YES_NO },
      required: ['stdin', 'stdout', 'stderr'],
      additionalProperties: false,
    },
    answer: { kind: 'upgrade', protocol: STREAM_PROTOCOL },
  },
  exec: {
    method: 'POST',
    path: '/exec',
    summary: 'Runs another process. The first message on the stream is an ExecRequest.',
    answer: { kind: 'upgrade', protocol: STREAM_PROTOCOL },
    errors: ['wrong-state'],
  },
  wait: {
    method: 'GET',
    path: '/wait',
    summary: 'Waits for the next end of the process, or for the removal of the container.',
    query: {
      type: 'object',
      properties: { condition: { type: 'string', enum: ['next-exit', 'removed'] } },
      required: ['condition'],
      additionalProperties: false,
    },
    answer: {
      kind: 'json',
      schema: {
        type: 'object',
        properties: { exitCode: { type: 'integer' } },
        required: ['exitCode'],
        additionalProperties: false,
      },
    },
  },
  kill: {
    method: 'POST',
    path: '/kill',
    summary: "Sends a signal to the container's process.",
    query: {
      type: 'object',
      properties: { signal: { type: 'string', description: 'Name or number.' } },
      required: ['signal'],
      additionalProperties: false,
    },
    answer: { kind: 'nothing' },
    errors: ['wrong-state'],
  },
  stop: {
    method: 'POST',
    path: '/stop',
    summary: 'Sends the stop signal, then SIGKILL; answers when the container has ended.',
    query: {
      type: 'object',
      properties: {
        signal: { type: 'string', description: 'Default: that of the container.' },
        timeout: { type: 'integer', minimum: 0, description: 'Seconds until SIGKILL.' },
        forever: { ...YES_NO, description: 'No SIGKILL.' },
      },
      required: [],
      additionalProperties: false,
    },
    answer: { kind: 'nothing' },
  },
  pause: {
    method: 'POST',
    path: '/pause',
    summary: 'Pauses the machine.',
    answer: { kind: 'nothing' },
    errors: ['wrong-state'],
  },
  unpause: {
    method: 'POST',
    path: '/unpause',
    summary: 'Lets the machine go on.',
    answer: { kind: 'nothing' },
    errors: ['wrong-state'],
  },
  connect: {
    method: 'POST',
    path: '/networks',
    summary: 'Joins a network.',
    body: {
      type: 'object',
      properties: {
        network: { type: 'string', description: 'Name or ID.' },
        aliases: { type: 'array', items: { type: 'string' } },
        ip: { type: 'string' },
      },
      required: ['network', 'aliases'],
      additionalProperties: false,
    },
    answer: { kind: 'nothing' },
    errors: ['wrong-state'],
  },
  disconnect: {
    method: 'POST',
    path: '/networks/leave',
    summary: 'Leaves a network.',
    body: {
      type: 'object',
      properties: { network: { type: 'string', description: 'Name or ID.' } },
      required: ['network'],
      additionalProperties: false,
    },
    answer: { kind: 'nothing' },
    errors: ['wrong-state'],
  },
  reload: {
    method: 'POST',
    path: '/reload',
    summary: 'Reads the configuration again, after a change, and applies its name and limits.',
    answer: { kind: 'nothing' },
  },
  processes: {
    method: 'GET',
    path: '/processes',
    summary: 'The processes of the container: an array of ProcessRow, see vmm/container/agent.',
    answer: { kind: 'text', contentType: 'application/json' },
    errors: ['wrong-state'],
  },
  stats: {
    method: 'GET',
    path: '/stats',
    summary: 'Counters: a ContainerStats, see vmm/container/agent.',
    answer: { kind: 'text', contentType: 'application/json' },
    errors: ['wrong-state'],
  },
  pathStat: {
    method: 'GET',
    path: '/path-stat',
    summary: 'What a path in the container is: a PathStat, see vmm/container/agent, or null.',
    query: {
      type: 'object',
      properties: { path: { type: 'string' } },
      required: ['path'],
      additionalProperties: false,
    },
    answer: { kind: 'text', contentType: 'application/json' },
    errors: ['wrong-state'],
  },
  changes: {
    method: 'GET',
    path: '/changes',
    summary: 'Paths that differ from the image: an array of PathChange, see vmm/container/agent.',
    answer: { kind: 'text', contentType: 'application/json' },
    errors: ['wrong-state'],
  },
  readArchive: {
    method: 'GET',
    path: '/archive',
    summary: 'A tar archive of the changes, with whiteouts, or of the whole root.',
    query: {
      type: 'object',
      properties: {
        of: { type: 'string', enum: ['changes', 'root'] },
        freeze: { ...YES_NO, description: 'The processes stand still meanwhile.' },
      },
      required: ['of'],
      additionalProperties: false,
    },
    answer: { kind: 'upgrade', protocol: ARCHIVE_PROTOCOL },
    errors: ['wrong-state'],
  },
} as const satisfies Operations;
export type ContainerOperations = typeof CONTAINER_OPERATIONS;
