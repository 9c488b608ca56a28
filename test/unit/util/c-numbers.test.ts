import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { formatFixed, formatGeneral } from '../../../vmm/util/c-numbers.ts';
import { Random } from '../../support/random.ts';

/** What printf(1) makes of them; its numbers are long doubles, which hold a double's exactly. */
function printf(format: string, values: readonly number[]): string[] {
  const args = values.map((value) => value.toFixed(60).replace(/0+$/, ''));
  return execFileSync('printf', [`${format}\\n`, ...args], { encoding: 'utf8' })
    .trim()
    .split('\n');
}

const TIES = [0.5, 1.5, 2.5, 10.25, 2.125, 100.5, 20.5, 3.125, 0.125, 0.375, 99.95, 0, 1];
const random = new Random(17);
const VALUES = [...TIES, ...Array.from({ length: 400 }, () => random.below(2 ** 20) / 1024)];

test('fixed digits are those of printf, ties as well', () => {
  for (const digits of [0, 1, 2]) {
    assert.deepEqual(
      VALUES.map((value) => formatFixed(value, digits)),
      printf(`%.${digits}f`, VALUES),
    );
  }
});

test('three digits are those of printf: rounded up to a thousand it has an exponent', () => {
  const values = [...VALUES, 999.4, 999.5, 999.6, 0.9765625, 0.977, 1023];
  assert.deepEqual(
    values.map((value) => formatGeneral(value, 3)),
    printf('%.3g', values),
  );
});
