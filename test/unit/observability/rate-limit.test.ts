import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLogger } from '../../../vmm/observability/logger.ts';
import { RateLimit } from '../../../vmm/observability/rate-limit.ts';

test('a flood of messages is limited, and the next message reports how many were suppressed', () => {
  let now = 0;
  const limit = new RateLimit(2, 1000, () => now);
  const lines: string[] = [];
  for (let i = 0; i < 10; i++) limit.log((line) => lines.push(line), `message ${i}`);
  assert.deepEqual(lines, ['message 0', 'message 1']);
  now = 1000;
  limit.log((line) => lines.push(line), 'later');
  assert.equal(lines[2], 'later (8 similar messages suppressed)');
  limit.log((line) => lines.push(line), 'and again');
  assert.equal(lines[3], 'and again');
});

test('a log level includes more severe levels', () => {
  const lines: string[] = [];
  const logger = createLogger('warn', (line) => lines.push(line));
  logger.error('a');
  logger.warn('b');
  logger.info('c');
  logger.debug('d');
  assert.deepEqual(lines, ['tsvm: error: a', 'tsvm: warn: b']);
});
