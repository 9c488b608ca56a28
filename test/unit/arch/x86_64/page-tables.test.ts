import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PAGE_TABLES_GPA, PAGE_TABLES_SIZE } from '../../../../vmm/arch/x86_64/layout.ts';
import { composeIdentityMap } from '../../../../vmm/arch/x86_64/page-tables.ts';

/** Walks the tables as the MMU does: Intel SDM volume 3, section 4.5.4. Undefined: a page fault. */
function translate(tables: Uint8Array, root: number, address: bigint): bigint | undefined {
  const view = new DataView(tables.buffer);
  let table = BigInt(root);
  for (const shift of [39n, 30n, 21n, 12n]) {
    const index = (address >> shift) & 511n;
    const entry = view.getBigUint64(Number(table - BigInt(root) + index * 8n), true);
    assert.equal(entry & 0xfff0000000000000n, 0n, 'no reserved bit, executable');
    if (!(entry & 1n)) return undefined;
    assert.ok(entry & 2n, 'writable');
    assert.ok(!(entry & 4n), 'not for user mode');
    const large = shift === 21n && (entry & 0x80n) !== 0n;
    if (large || shift === 12n) {
      const mask = (1n << shift) - 1n;
      assert.equal(entry & mask & ~0xfffn, 0n, 'no reserved bit of a large page');
      return (entry & 0xffffffffff000n & ~mask) | (address & mask);
    }
    table = entry & 0xffffffffff000n;
  }
  return undefined;
}

test('the first 4 GiB are mapped to themselves, and no more', () => {
  for (const gpa of [PAGE_TABLES_GPA, 0x7fff000]) {
    const tables = composeIdentityMap(gpa);
    assert.equal(tables.byteLength, PAGE_TABLES_SIZE);
    for (let page = 0n; page < 2048n; page++) {
      for (const address of [page << 21n, (page << 21n) + 0x1fffffn]) {
        assert.equal(translate(tables, gpa, address), address);
      }
    }
    for (const address of [1n << 32n, 1n << 39n, (1n << 48n) - 1n]) {
      assert.equal(translate(tables, gpa, address), undefined);
    }
  }
});
