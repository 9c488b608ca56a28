import assert from 'node:assert/strict';
import { test } from 'node:test';
import { humanDuration, humanSize, shortId } from '../../../../vmm/cli/container/units.ts';

test('sizes as Docker shows them', () => {
  const cases: [number, number, string][] = [
    [0, 3, '0B'],
    [999, 3, '999B'],
    [1000, 3, '1kB'],
    [4_260_000, 3, '4.26MB'],
    [77_812_345, 3, '77.8MB'],
    [123_456_789, 3, '123MB'],
    [1_234_567_890, 3, '1.23GB'],
    [5_079_040, 4, '5.079MB'],
  ];
  for (const [bytes, digits, text] of cases) assert.equal(humanSize(bytes, digits), text);
});

test('durations as Docker shows them', () => {
  const hour = 3600;
  const cases: [number, string][] = [
    [0, 'Less than a second'],
    [1, '1 second'],
    [59, '59 seconds'],
    [60, 'About a minute'],
    [119, 'About a minute'],
    [120, '2 minutes'],
    [59 * 60, '59 minutes'],
    [hour, 'About an hour'],
    [hour * 1.6, '2 hours'],
    [47 * hour, '47 hours'],
    [48 * hour, '2 days'],
    [13 * 24 * hour, '13 days'],
    [14 * 24 * hour, '2 weeks'],
    [59 * 24 * hour, '8 weeks'],
    [60 * 24 * hour, '2 months'],
    [729 * 24 * hour, '24 months'],
    [730 * 24 * hour, '2 years'],
  ];
  for (const [seconds, text] of cases) assert.equal(humanDuration(seconds * 1000), text);
});

test('IDs are cut to twelve digits', () => {
  assert.equal(shortId(`sha256:${'0123456789abcdef'.repeat(4)}`), '0123456789ab');
});
