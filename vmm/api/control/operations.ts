/** tsvm's own API of a running machine, version 1. Within a version, fields are only added. */
import type { ApiInfo } from '../http/openapi.ts';
import type { Operations } from '../http/operation.ts';
import type { ObjectSchema } from '../http/schema.ts';
import {
  DEVICE_ID,
  DISK_IMAGE,
  LIMITS,
  MACHINE,
  NEW_DISK,
  NEW_NETWORK,
  REMOVAL,
} from './machine-schema.ts';

export const CONTROL_API: ApiInfo = {
  title: 'tsvm machine control',
  description: 'Observes and controls one running virtual machine.',
  version: '1.0.0',
  basePath: '/v1',
};

const COUNTERS = {
  type: 'object',
  properties: {},
  required: [],
  additionalProperties: { type: 'number' },
} as const satisfies ObjectSchema;

const METRICS = {
  type: 'object',
  properties: {
    machine: { type: 'string', description: 'Name of the machine.' },
    vcpus: { ...COUNTERS, description: 'Counters of all vCPUs together.' },
    devices: {
      type: 'object',
      description: 'By the device: disk0, disk1, …, rng, …',
      properties: {},
      required: [],
      additionalProperties: {
        type: 'object',
        properties: {
          counters: { ...COUNTERS, description: 'Values that only grow.' },
          gauges: { ...COUNTERS, description: 'Values that go up and down.' },
          queues: {
            type: 'array',
            description: 'Counters of each virtqueue, by its index.',
            items: COUNTERS,
          },
        },
        required: ['counters', 'gauges', 'queues'],
        additionalProperties: false,
      },
    },
  },
  required: ['machine', 'vcpus', 'devices'],
  additionalProperties: false,
} as const satisfies ObjectSchema;

const BALLOON = {
  type: 'object',
  description: 'Memory of the guest that its balloon lends to the host.',
  properties: {
    memoryBytes: { type: 'integer', minimum: 0, description: 'Guest memory without the balloon.' },
    targetBytes: { type: 'integer', minimum: 0, description: 'What the balloon is to hold.' },
    actualBytes: { type: 'integer', minimum: 0, description: 'What it holds, as the guest says.' },
    statistics: {
      ...COUNTERS,
      description:
        "The guest's memory statistics, as far as it tells them: freeBytes, availableBytes, totalBytes, " +
        'cacheBytes, swapInBytes, swapOutBytes, majorFaults, minorFaults, oomKills, …',
    },
  },
  required: ['memoryBytes', 'targetBytes', 'actualBytes', 'statistics'],
  additionalProperties: false,
} as const satisfies ObjectSchema;
const balloon = { kind: 'json', schema: BALLOON } as const;

const MEMORY = {
  type: 'object',
  description: 'Memory of a guest that can have more or less of it while it runs.',
  properties: {
    minBytes: { type: 'integer', minimum: 0, description: 'What the machine booted with.' },
    maxBytes: { type: 'integer', minimum: 0, description: 'The most that the guest can have.' },
    targetBytes: { type: 'integer', minimum: 0, description: 'What the guest is to have.' },
    actualBytes: { type: 'integer', minimum: 0, description: 'What the guest has.' },
  },
  required: ['minBytes', 'maxBytes', 'targetBytes', 'actualBytes'],
  additionalProperties: false,
} as const satisfies ObjectSchema;
const memory = { kind: 'json', schema: MEMORY } as const;

const machine = { kind: 'json', schema: MACHINE } as const;
const deviceId = { kind: 'json', schema: DEVICE_ID } as const;
const REMOVAL_DESCRIPTION =
  'Asks the guest to let go of it, and answers when it is closed. If the time is up first, the answer is ' +
  'an error, and it is removed once the guest lets go of it, unless it is forced.';
const nothing = { kind: 'nothing' } as const;

export const CONTROL_OPERATIONS = {
  getMachine: {
    method: 'GET',
    path: '/machine',
    summary: 'Tells what and how the machine is.',
    answer: machine,
  },
  pauseMachine: {
    method: 'POST',
    path: '/machine/pause',
    summary: 'Pauses a running machine.',
    description: 'Answers when no vCPU and no device changes anything any more.',
    answer: machine,
    errors: ['wrong-state'],
  },
  resumeMachine: {
    method: 'POST',
    path: '/machine/resume',
    summary: 'Lets a paused machine go on.',
    answer: machine,
    errors: ['wrong-state'],
  },
  pressPowerButton: {
    method: 'POST',
    path: '/machine/power-button',
    summary: 'Presses the ACPI power button, which asks the guest to shut down.',
    description: 'Answers at once; the guest may take its time, or ignore it.',
    answer: nothing,
    errors: ['wrong-state', 'not-supported'],
  },
  killMachine: {
    method: 'POST',
    path: '/machine/kill',
    summary: 'Ends the machine at once, like a power failure, and its process.',
    answer: nothing,
  },
  getMetrics: {
    method: 'GET',
    path: '/metrics',
    summary: 'Tells what vCPUs, devices and queues have counted since the machine was made.',
    description: 'See /metrics/prometheus for what each counter means.',
    answer: { kind: 'json', schema: METRICS },
    errors: ['wrong-state'],
  },
  getPrometheusMetrics: {
    method: 'GET',
    path: '/metrics/prometheus',
    summary: "The same in Prometheus' text format, with a description of each counter.",
    answer: { kind: 'text', contentType: 'text/plain; version=0.0.4; charset=utf-8' },
    errors: ['wrong-state'],
  },
  getBalloon: {
    method: 'GET',
    path: '/balloon',
    summary: 'Tells the size of the memory balloon, with fresh statistics of the guest.',
    answer: balloon,
    errors: ['wrong-state', 'not-supported'],
  },
  setBalloon: {
    method: 'PUT',
    path: '/balloon',
    summary: 'Sets how much memory the balloon is to hold.',
    description:
      'Answers at once; the guest takes its time. It gets memory back when it would run out.',
    body: {
      type: 'object',
      properties: {
        targetBytes: {
          type: 'integer',
          minimum: 0,
          description: 'At most the memory of the guest; rounded down to 4096 bytes.',
        },
      },
      required: ['targetBytes'],
      additionalProperties: false,
    },
    answer: balloon,
    errors: ['wrong-state', 'not-supported'],
  },
  getMemory: {
    method: 'GET',
    path: '/memory',
    summary: 'Tells how much memory the guest has, is to have and can have.',
    answer: memory,
    errors: ['wrong-state', 'not-supported'],
  },
  setMemory: {
    method: 'PUT',
    path: '/memory',
    summary: 'Sets how much memory the guest is to have.',
    description:
      'Answers at once; the guest takes its time. It gives back only memory that it can free.',
    body: {
      type: 'object',
      properties: {
        targetBytes: {
          type: 'integer',
          minimum: 0,
          description: 'From what the machine booted with to its maximum, in steps of 2 MiB.',
        },
      },
      required: ['targetBytes'],
      additionalProperties: false,
    },
    answer: memory,
    errors: ['wrong-state', 'not-supported'],
  },
  setDisk: {
    method: 'PUT',
    path: '/disk',
    summary: 'Sets the rate limits of a disk, and replaces its image.',
    description:
      'A present image is flushed and closed, and the guest is told of the new capacity. Answers when ' +
      'that is done.',
    body: {
      type: 'object',
      properties: {
        id: { type: 'string', description: 'disk0, disk1, …' },
        image: DISK_IMAGE,
        limits: LIMITS,
      },
      required: ['id'],
      additionalProperties: false,
    },
    answer: nothing,
    errors: ['wrong-state', 'not-supported'],
  },
  setNetwork: {
    method: 'PUT',
    path: '/network',
    summary: 'Plugs or unplugs the cable of a network, and sets its rate limits.',
    body: {
      type: 'object',
      properties: {
        id: { type: 'string', description: 'net0, net1, …' },
        linkUp: {
          type: 'boolean',
          description: 'Whether the cable is plugged in. Frames are dropped while it is not.',
        },
        limits: LIMITS,
      },
      required: ['id'],
      additionalProperties: false,
    },
    answer: nothing,
    errors: ['wrong-state', 'not-supported'],
  },
  addDisk: {
    method: 'POST',
    path: '/disks',
    summary: 'Adds a disk to the machine, which needs PCI. Answers with its id.',
    body: NEW_DISK,
    answer: deviceId,
    errors: ['wrong-state', 'not-supported'],
  },
  removeDisk: {
    method: 'POST',
    path: '/disks/remove',
    summary: 'Removes a disk from the machine. What the guest has written to it is durable then.',
    description: REMOVAL_DESCRIPTION,
    body: REMOVAL,
    answer: nothing,
    errors: ['wrong-state', 'not-supported'],
  },
  addNetwork: {
    method: 'POST',
    path: '/networks',
    summary: 'Adds a network to the machine, which needs PCI. Answers with its id.',
    body: NEW_NETWORK,
    answer: deviceId,
    errors: ['wrong-state', 'not-supported'],
  },
  removeNetwork: {
    method: 'POST',
    path: '/networks/remove',
    summary: 'Removes a network from the machine.',
    description: REMOVAL_DESCRIPTION,
    body: REMOVAL,
    answer: nothing,
    errors: ['wrong-state', 'not-supported'],
  },
  attachConsole: {
    method: 'POST',
    path: '/console',
    summary: 'Attaches to the serial console.',
    description:
      'The stream carries the output of the guest one way and its input the other. It begins with the ' +
      'latest output. The header "Tsvm-Input" of the answer is "yes" when this console has the input.',
    query: {
      type: 'object',
      properties: {
        input: {
          type: 'string',
          enum: ['if-free', 'take', 'none'],
          description:
            'Who gets the input: this console if it is free, this console, not this console.',
        },
        replay: {
          type: 'integer',
          minimum: 0,
          description: 'Number of bytes of the latest output to begin with, at most what was kept.',
        },
      },
      required: [],
      additionalProperties: false,
    },
    answer: { kind: 'upgrade', protocol: 'tsvm-console' },
  },
  setConsoleSize: {
    method: 'PUT',
    path: '/console/size',
    summary: 'Tells the guest how large the window of its console is.',
    body: {
      type: 'object',
      properties: {
        columns: { type: 'integer', minimum: 1, maximum: 65_535 },
        rows: { type: 'integer', minimum: 1, maximum: 65_535 },
      },
      required: ['columns', 'rows'],
      additionalProperties: false,
    },
    answer: nothing,
    errors: ['wrong-state', 'not-supported'],
  },
} as const satisfies Operations;

export type ControlOperations = typeof CONTROL_OPERATIONS;

/** Header of the answer to `attachConsole`. */
export const CONSOLE_INPUT_HEADER = 'Tsvm-Input';
