/** Runs test files in the emulated host and writes the results for the host outside: results.ts. */
import { relative } from 'node:path';
import { run } from 'node:test';
import { inspect } from 'node:util';
import { ALIVE_MS, type HostMessage } from '../results.ts';

function send(message: HostMessage): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

/** Tests in these files that no KVM has a part in. They run on the host outside. */
const WITHOUT_KVM = [
  /^the verdict /,
  /^an invalid command line /,
  // Needs Python to judge the text.
  /^--metrics FILE\.prom /,
  // The console's pipes: half a minute here, as each byte is an exit.
  /^a pipe’s input reaches the shell whole/,
];

/** Ends a test that hangs, so that it is known which; none needs half of it on a loaded machine. */
const TIMEOUT_MS = 1_200_000;

const files = process.argv.slice(2);
const alive = setInterval(() => send({ alive: true }), ALIVE_MS);
const events = run({ files, concurrency: 1, timeout: TIMEOUT_MS, testSkipPatterns: WITHOUT_KVM });
for await (const { type, data } of events) {
  if (type === 'test:stderr' || type === 'test:stdout') process.stderr.write(data.message);
  // Unlike "test:pass" and "test:fail", this comes when a test ends, not when its file's turn comes.
  if (type !== 'test:complete') continue;
  const { name, details, skip } = data;
  const { duration_ms: durationMs } = details;
  const file = relative(process.cwd(), data.file ?? '');
  if (name === file) {
    send({ endedFile: file });
    // A file is a test too, which tells something only when it fails on its own account.
    if (details.passed || details.error?.cause === 'test failed') continue;
  }
  send({
    test: {
      file,
      name,
      durationMs,
      ...(skip !== undefined && skip !== false && { skipped: String(skip) }),
      ...(!details.passed && { failure: inspect(details.error) }),
    },
  });
}
clearInterval(alive);
send({ done: true });
