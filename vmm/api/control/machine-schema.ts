/** Schemas of the control API: the status of a machine, and changes of its disks and networks. */
import { SANDBOX_REACHES } from '../../machine/process-sandbox.ts';
import type { ObjectSchema } from '../http/schema.ts';

const PORT = { type: 'integer', minimum: 1, maximum: 65_535 } as const;

export const LIMITS = {
  type: 'object',
  description: 'Rate limits. What is left out is not limited. New ones replace the present ones.',
  properties: {
    bytesPerSecond: { type: 'integer', minimum: 1, description: 'Bytes per second.' },
    burstBytes: {
      type: 'integer',
      minimum: 1,
      description: "Bytes that may pass at once; default: a tenth of a second's.",
    },
    operationsPerSecond: {
      type: 'integer',
      minimum: 1,
      description: 'Requests of a disk, frames of a network in each direction, per second.',
    },
    burstOperations: {
      type: 'integer',
      minimum: 1,
      description: "Requests or frames that may pass at once; default: a tenth of a second's.",
    },
  },
  required: [],
  additionalProperties: false,
} as const satisfies ObjectSchema;

const FORWARDS = {
  type: 'array',
  description: 'Ports of the host that lead to ports of the guest.',
  items: {
    type: 'object',
    properties: {
      protocol: { type: 'string', enum: ['tcp', 'udp'] },
      address: { type: 'string', description: 'Address of the host.' },
      hostPort: PORT,
      guestPort: PORT,
    },
    required: ['protocol', 'address', 'hostPort', 'guestPort'],
    additionalProperties: false,
  },
} as const;

/** A new image for a disk of a running machine. */
export const DISK_IMAGE = {
  type: 'object',
  description: 'An image file or a block device.',
  properties: {
    path: { type: 'string', description: 'An absolute path.' },
    format: {
      type: 'string',
      enum: ['raw', 'qcow2'],
      description: "Default: qcow2 if the file's name ends in .qcow2, otherwise raw.",
    },
    overlay: {
      type: 'boolean',
      description: 'Writes go to an unnamed temporary file; the image is not changed.',
    },
    backing: {
      type: 'string',
      enum: ['same-folder', 'allow'],
      description: "Where backing images may be: in the image's folder or below it, or anywhere.",
    },
  },
  required: ['path'],
  additionalProperties: false,
} as const satisfies ObjectSchema;

/** A disk to add to a running machine. */
export const NEW_DISK = {
  type: 'object',
  description: 'An image file or a block device.',
  properties: {
    ...DISK_IMAGE.properties,
    readOnly: { type: 'boolean', description: 'Default: false.' },
    limits: LIMITS,
  },
  required: ['path'],
  additionalProperties: false,
} as const satisfies ObjectSchema;

/** A network to add to a running machine. */
export const NEW_NETWORK = {
  type: 'object',
  properties: {
    kind: {
      type: 'string',
      enum: ['user', 'tap'],
      description: 'user: by passt, without privileges; tap: a tap device of the host.',
    },
    name: { type: 'string', description: 'The tap device; required for that kind alone.' },
    queues: { type: 'integer', minimum: 1, description: 'Pairs of queues of a tap device.' },
    mac: { type: 'string', description: "The guest's MAC address; default: a random one." },
    mtu: { type: 'integer', minimum: 1, description: 'Largest IP packet in bytes.' },
    linkUp: { type: 'boolean', description: 'Whether the cable is plugged in; default: true.' },
    spoofing: {
      type: 'boolean',
      description:
        'Whether the guest may send from other MAC addresses on a tap device; default: true.',
    },
    forwards: FORWARDS,
    limits: LIMITS,
  },
  required: ['kind'],
  additionalProperties: false,
} as const satisfies ObjectSchema;

/** A device to remove from a running machine. */
export const REMOVAL = {
  type: 'object',
  properties: {
    id: { type: 'string', description: 'disk1, net0, …' },
    timeoutMs: {
      type: 'integer',
      minimum: 0,
      maximum: 3_600_000,
      description: 'How long the guest may take to let go of the device; default: 10000.',
    },
    force: {
      type: 'boolean',
      description: 'Take the device away after that time, as by pulling it out. Default: false.',
    },
  },
  required: ['id'],
  additionalProperties: false,
} as const satisfies ObjectSchema;

/** The id of a device. */
export const DEVICE_ID = {
  type: 'object',
  properties: { id: { type: 'string', description: 'disk1, net0, …' } },
  required: ['id'],
  additionalProperties: false,
} as const satisfies ObjectSchema;

export const MACHINE = {
  type: 'object',
  description: 'A running machine.',
  properties: {
    name: { type: 'string', description: 'Unique among the running machines of a user.' },
    pid: { type: 'integer', minimum: 1, description: 'Process ID.' },
    version: { type: 'string', description: 'Version of tsvm that runs it.' },
    state: {
      type: 'string',
      enum: ['booting', 'running', 'pausing', 'paused', 'stopped'],
      description: 'booting: it is made, or made anew after a reset.',
    },
    startedAt: { type: 'string', format: 'date-time', description: 'Start of the process.' },
    cpus: { type: 'integer', minimum: 1, description: 'Number of vCPUs.' },
    memoryBytes: { type: 'integer', minimum: 0, description: 'Guest memory in bytes.' },
    memoryMaxBytes: {
      type: 'integer',
      minimum: 0,
      description: 'What the guest can have while it runs, if it can have more.',
    },
    kernelPath: {
      type: 'string',
      description: 'File of the kernel; absent when it is on the first disk.',
    },
    disks: {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          id: { type: 'string' },
          path: { type: 'string' },
          readOnly: { type: 'boolean' },
          limits: LIMITS,
        },
        required: ['id', 'path', 'readOnly'],
        additionalProperties: false,
      },
    },
    pmems: {
      type: 'array',
      description: 'Files that are memory of the guest: /dev/pmem0 and so on.',
      items: {
        type: 'object',
        properties: { path: { type: 'string' }, readOnly: { type: 'boolean' } },
        required: ['path', 'readOnly'],
        additionalProperties: false,
      },
    },
    nets: {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          id: { type: 'string' },
          kind: { type: 'string', enum: ['user', 'tap'] },
          tapName: { type: 'string', description: 'The tap device.' },
          mac: { type: 'string', description: "The guest's MAC address." },
          linkUp: { type: 'boolean', description: 'Whether the cable is plugged in.' },
          forwards: FORWARDS,
          limits: LIMITS,
        },
        required: ['id', 'kind', 'mac', 'linkUp', 'forwards'],
        additionalProperties: false,
      },
    },
    shares: {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          tag: { type: 'string', description: 'What the guest mounts it by.' },
          path: { type: 'string' },
          readOnly: { type: 'boolean' },
        },
        required: ['tag', 'path', 'readOnly'],
        additionalProperties: false,
      },
    },
    ports: {
      type: 'array',
      description: 'Named ports of a virtio console.',
      items: {
        type: 'object',
        properties: { name: { type: 'string' }, socketPath: { type: 'string' } },
        required: ['name', 'socketPath'],
        additionalProperties: false,
      },
    },
    vsock: {
      type: 'object',
      properties: {
        guestCid: { type: 'integer', description: "The guest's context identifier." },
        socketPath: { type: 'string' },
      },
      required: ['guestCid'],
      additionalProperties: false,
    },
    hasBalloon: { type: 'boolean' },
    hasPowerButton: {
      type: 'boolean',
      description: 'False without ACPI: the guest cannot be asked to shut down.',
    },
    console: {
      type: 'object',
      properties: {
        viewers: { type: 'integer', minimum: 0, description: 'Number of attached consoles.' },
        input: {
          type: 'string',
          enum: ['local', 'attached', 'nobody'],
          description:
            'Who types: the terminal or pipe of the process, an attached console, nobody.',
        },
      },
      required: ['viewers', 'input'],
      additionalProperties: false,
    },
    sandbox: {
      type: 'object',
      properties: {
        reach: {
          type: 'string',
          enum: SANDBOX_REACHES,
          description:
            'What is confined: nothing, the threads that handle the guest’s input, or the whole process.',
        },
        reason: { type: 'string', description: 'Why it is no more, or what it lacks.' },
      },
      required: ['reach'],
      additionalProperties: false,
    },
    logPath: {
      type: 'string',
      description: 'File with its messages, if it runs in the background.',
    },
  },
  required: [
    'name',
    'pid',
    'version',
    'state',
    'startedAt',
    'cpus',
    'memoryBytes',
    'disks',
    'hasPowerButton',
    'console',
    'sandbox',
  ],
  additionalProperties: false,
} as const satisfies ObjectSchema;
