/** Output that nobody reads, or that has no room. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { TSVM } from '../../support/tsvm-process.ts';
import { ImageFolder } from './image-fixtures.ts';

const folder = new ImageFolder();
before(() => folder.makeChain());
after(() => folder.remove());

function shell(script: string) {
  const { stdout, stderr, status } = spawnSync('sh', ['-c', script], {
    cwd: folder.path,
    encoding: 'utf8',
    env: { ...process.env, TSVM },
    timeout: 120_000,
  });
  return { stdout, stderr, status };
}

/** Each prints something. */
const VERBS = [
  '--help',
  'map --help',
  'create -f qcow2 -o help',
  'info base.qcow2',
  'info --output json base.qcow2',
  'map base.qcow2',
  'check base.qcow2',
  'compare base.qcow2 base.qcow2',
  'measure base.qcow2',
  'snapshot -l top.qcow2',
  'create new.qcow2 1M',
  'convert -p base.qcow2 new.img',
];

test('a full disk for the output is an error, a closed pipe is none', () => {
  for (const verb of VERBS) {
    const full = shell(`"$TSVM" image ${verb} >/dev/full`);
    assert.equal(full.status, 125, verb);
    assert.match(full.stderr, /^tsvm: standard output cannot be written: ENOSPC.*\n$/, verb);
    // A pipe whose reader has closed it.
    const pipe = 'mkfifo pipe; exec 3<>pipe 4>pipe 3>&-; rm pipe';
    const closed = shell(`${pipe}; "$TSVM" image ${verb} >&4; echo "code $?" >&2`);
    assert.equal(closed.stderr, 'code 0\n', verb);
  }
});
