/** How an API is described: a table of operations that server, client and documentation share. */
import type { FromSchema, ObjectSchema, Schema } from './schema.ts';

/** An operation: a method on a path. Its name is its key in the table. */
export interface Operation {
  readonly method: 'GET' | 'POST' | 'PUT';
  /** Without parameters. */
  readonly path: `/${string}`;
  readonly summary: string;
  readonly description?: string;
  /** Parameters after the `?`; all are strings with `enum`, or decimal integers. */
  readonly query?: ObjectSchema;
  /** Schema of the JSON body; an operation without it takes no body. */
  readonly body?: ObjectSchema;
  readonly answer: Answer;
  /** Error codes it may answer with, besides those of every operation. */
  readonly errors?: readonly ErrorCode[];
}

export type Answer =
  /** 200 with JSON. */
  | { readonly kind: 'json'; readonly schema: Schema }
  /** 200 with this kind of text. */
  | { readonly kind: 'text'; readonly contentType: string }
  /** 204. */
  | { readonly kind: 'nothing' }
  /** 101: the connection is a byte stream from then on. */
  | { readonly kind: 'upgrade'; readonly protocol: string };

export type Operations = Readonly<Record<string, Operation>>;

/** Error codes and their HTTP statuses. */
export const ERROR_STATUSES = {
  'invalid-request': 400,
  'not-found': 404,
  'wrong-method': 405,
  'wrong-state': 409,
  'not-supported': 409,
  'request-too-large': 413,
  'upgrade-required': 426,
  failed: 500,
} as const;
export type ErrorCode = keyof typeof ERROR_STATUSES;

/** The errors that every operation may answer with. */
export const COMMON_ERRORS: readonly ErrorCode[] = [
  'invalid-request',
  'request-too-large',
  'failed',
];

/** Body of every answer that is an error. */
export const ERROR_SCHEMA = {
  type: 'object',
  properties: {
    code: {
      type: 'string',
      enum: Object.keys(ERROR_STATUSES) as ErrorCode[],
      description: 'Kind of error, for programs.',
    },
    message: { type: 'string', description: 'What is wrong and what to do, for people.' },
  },
  required: ['code', 'message'],
  additionalProperties: false,
} as const satisfies Schema;

/** Thrown by an operation to answer with an error. */
export class ApiError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string) {
    super(message);
    this.name = 'ApiError';
    this.code = code;
  }
}

/** What an operation is called with. */
export interface Call<O extends Operation> {
  readonly query: O['query'] extends ObjectSchema ? FromSchema<O['query']> : undefined;
  readonly body: O['body'] extends ObjectSchema ? FromSchema<O['body']> : undefined;
}

/** What an operation answers with. */
export type Result<O extends Operation> = O['answer'] extends {
  kind: 'json';
  schema: infer S extends Schema;
}
  ? FromSchema<S>
  : O['answer'] extends { kind: 'text' }
    ? string
    : undefined;
