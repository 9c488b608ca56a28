import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodePacket, PACKET_BYTES_MAX, PacketDecoder } from '../../../vmm/gdb/packets.ts';
import { Random } from '../../support/random.ts';

const bytes = (text: string) => Buffer.from(text, 'latin1');

/** Events in short: a payload, or the kind of another event in brackets. */
function decode(...pieces: string[]): string[] {
  const decoder = new PacketDecoder();
  return pieces
    .flatMap((piece) => decoder.push(bytes(piece)))
    .map((event) => (event.kind === 'packet' ? event.payload : `<${event.kind}>`));
}

test('the examples of GDB’s manual', () => {
  // "Overview": the sum of the characters between $ and #, modulo 256.
  assert.deepEqual(decode('$OK#9a'), ['OK']);
  assert.equal(Buffer.from(encodePacket('OK')).toString(), '$OK#9a');
  assert.deepEqual(decode('+$qSupported:multiprocess+#c6'), ['<ack>', 'qSupported:multiprocess+']);
});

test('packets arrive in pieces, with anything between them', () => {
  assert.deepEqual(decode('noise+$m', 'ff', ',4#', '9', '9\x03-'), [
    '<ack>',
    'mff,4',
    '<interrupt>',
    '<nak>',
  ]);
  assert.deepEqual(decode('$lost$g#67'), ['g'], 'a packet whose end was lost');
});

test('every byte survives an escape', () => {
  const all = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte)).join('');
  assert.deepEqual(decode(Buffer.from(encodePacket(all)).toString('latin1')), [all]);
});

test('wrong checksums and packets that are too long are bad', () => {
  assert.deepEqual(decode('$g#68', '$g#zz', '$g#6', 'g', '$g#67'), [
    '<bad>',
    '<bad>',
    '<bad>',
    'g',
  ]);
  const long = 'x'.repeat(PACKET_BYTES_MAX + 1);
  const sum = ((long.length * 0x78) & 0xff).toString(16).padStart(2, '0');
  assert.deepEqual(decode(`$${long}#${sum}$g#67`), ['<bad>', 'g']);
});

test('random bytes never throw, and a packet behind them is understood', () => {
  const random = new Random(7);
  for (let round = 0; round < 500; round++) {
    const noise = Array.from({ length: 40 }, () => String.fromCharCode(random.below(256))).join('');
    assert.equal(decode(noise, '$g#67$g#67').at(-1), 'g');
  }
});
