/** OpenAPI 3.1 documents, generated from tables of operations. */
import {
  type Answer,
  COMMON_ERRORS,
  ERROR_SCHEMA,
  ERROR_STATUSES,
  type Operation,
  type Operations,
} from './operation.ts';

export interface ApiInfo {
  readonly title: string;
  readonly description: string;
  readonly version: string;
  /** Prefix of all paths. */
  readonly basePath: `/${string}`;
}

const json = (schema: unknown) => ({ 'application/json': { schema } });

/** The document as plain JSON. */
export function openApiDocument(info: ApiInfo, operations: Operations): unknown {
  const { basePath, ...described } = info;
  const paths: Record<string, Record<string, unknown>> = {};
  for (const [operationId, operation] of Object.entries(operations)) {
    paths[operation.path] = {
      ...paths[operation.path],
      [operation.method.toLowerCase()]: describe(operationId, operation),
    };
  }
  return {
    openapi: '3.1.0',
    info: described,
    servers: [{ url: basePath }],
    paths,
    components: { schemas: { Error: ERROR_SCHEMA } },
  };
}

function describe(operationId: string, operation: Operation): unknown {
  const { summary, description, query, body, answer, errors = [] } = operation;
  const byStatus = Map.groupBy([...COMMON_ERRORS, ...errors], (code) => ERROR_STATUSES[code]);
  const failures = [...byStatus].map(([status, codes]) => [
    status,
    { description: codes.join(', '), content: json({ $ref: '#/components/schemas/Error' }) },
  ]);
  return {
    operationId,
    summary,
    ...(description !== undefined && { description }),
    ...(query && {
      parameters: Object.entries(query.properties).map(([name, schema]) => ({
        name,
        in: 'query',
        required: query.required.includes(name),
        schema,
      })),
    }),
    ...(body && { requestBody: { required: true, content: json(body) } }),
    responses: { ...describeAnswer(answer), ...Object.fromEntries(failures) },
  };
}

function describeAnswer(answer: Answer): Readonly<Record<string, unknown>> {
  switch (answer.kind) {
    case 'json':
      return { 200: { description: 'Done.', content: json(answer.schema) } };
    case 'text':
      return {
        200: {
          description: 'Done.',
          content: { [answer.contentType]: { schema: { type: 'string' } } },
        },
      };
    case 'nothing':
      return { 204: { description: 'Done.' } };
    case 'upgrade':
      return {
        101: {
          description:
            `The connection is a byte stream from here on. The request needs the headers ` +
            `"Connection: Upgrade" and "Upgrade: ${answer.protocol}".`,
        },
      };
  }
}
