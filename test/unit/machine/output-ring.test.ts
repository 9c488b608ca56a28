import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OutputRing } from '../../../vmm/machine/output-ring.ts';

/** All that is left, read in pieces. */
function content(ring: OutputRing): string {
  let text = '';
  for (let at = ring.start; at < ring.end; ) {
    const bytes = ring.read(at, 3);
    assert.ok(bytes.length > 0);
    text += Buffer.from(bytes).toString();
    at += bytes.length;
  }
  return text;
}

test('the ring keeps the last bytes, however they were divided', () => {
  const alphabet = 'abcdefghijklmnopqrstuvwxyz';
  for (let size = 1; size <= 12; size++) {
    const ring = new OutputRing(8);
    let written = '';
    for (let at = 0; at < alphabet.length; at += size) {
      const piece = alphabet.slice(at, at + size);
      ring.write(Buffer.from(piece));
      written += piece;
      assert.equal(content(ring), written.slice(-8), `pieces of ${size}`);
      assert.equal(ring.end, written.length);
    }
  }
});

test('a read is a copy: later output does not change it', () => {
  const ring = new OutputRing(4);
  ring.write(Buffer.from('abcd'));
  const bytes = ring.read(0, 4);
  ring.write(Buffer.from('efgh'));
  assert.equal(Buffer.from(bytes).toString(), 'abcd');
});
