/** Tables of operations describe an API to the server, the client and the documentation. */
import type { FromSchema, ObjectSchema, Schema } from './schema.ts';

/** An operation: a method of a path. Its key in the table is its name. */
export interface Operation {
  readonly method: 'GET' | 'POST' | 'PUT';
  /** Without parameters. */
  readonly path: `/${string}`;
  readonly summary: string;
  readonly description?: string;
  /** Parameters after the `?`; all are strings with `enum`, or decimal integers. */
  readonly query?: ObjectSchema;
  /** Schema of the JSON body. Without it, the operation takes no body. */
  readonly body?: ObjectSchema;
  readonly answer: Answer;
  /** Error codes of this operation, besides those that all operations have. */
  readonly errors?: readonly ErrorCode[];
}

export type Answer =
  /** 200 with a JSON body. */
  | { readonly kind: 'json'; readonly schema: Schema }
  /** 200 with text of this content type. */
  | { readonly kind: 'text'; readonly contentType: string }
  /** 204 without a body. */
  | { readonly kind: 'nothing' }
  /** 101: the connection becomes a byte stream. */
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

/** Error codes that all operations have. */
export const COMMON_ERRORS: readonly ErrorCode[] = [
  'invalid-request',
  'request-too-large',
  'failed',
];

/** Body of every error. */
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

/** An operation throws it to answer with an error. */
export class ApiError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string) {
    super(message);
    this.name = 'ApiError';
    this.code = code;
  }
}

/** The arguments of an operation's handler. */
export interface Call<O extends Operation> {
  readonly query: O['query'] extends ObjectSchema ? FromSchema<O['query']> : undefined;
  readonly body: O['body'] extends ObjectSchema ? FromSchema<O['body']> : undefined;
}

/** The result of an operation's handler. */
export type Result<O extends Operation> = O['answer'] extends {
  kind: 'json';
  schema: infer S extends Schema;
}
  ? FromSchema<S>
  : O['answer'] extends { kind: 'text' }
    ? string
    : undefined;
