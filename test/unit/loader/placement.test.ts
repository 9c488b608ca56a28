import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  checkPlacements,
  type FilePlacement,
  type PlacementPiece,
  planPlacement,
} from '../../../vmm/loader/placement.ts';
import { seededRandom, tsvmError } from './kernel-fixtures.ts';

const SPACE = { startGpa: 0x100000, endGpa: 0x8000000, endGpaMax: 0xc0000000 };

const placement = (gpa: number, memSizeBytes: number): FilePlacement => ({
  gpa,
  memSizeBytes,
  fileOffset: 0,
  fileSizeBytes: 0,
});

test('whole pages are mapped, the ends copied, the rest zeroed', () => {
  const part = {
    gpa: 0x1000800,
    memSizeBytes: 0x5000,
    fileOffset: 0x2800,
    fileSizeBytes: 0x3000,
  };
  assert.deepEqual(planPlacement(part, 'cache'), [
    { kind: 'copy', gpa: 0x1000800, lengthBytes: 0x800, fileOffset: 0x2800 },
    { kind: 'map', gpa: 0x1001000, lengthBytes: 0x2000, fileOffset: 0x3000 },
    { kind: 'copy', gpa: 0x1003000, lengthBytes: 0x800, fileOffset: 0x5000 },
    { kind: 'zero', gpa: 0x1003800, lengthBytes: 0x2000 },
  ] satisfies PlacementPiece[]);
});

test('a file of the user is copied: it may change while the guest runs', () => {
  const part = { gpa: 0x1000000, memSizeBytes: 0x5000, fileOffset: 0x1000, fileSizeBytes: 0x3000 };
  assert.deepEqual(planPlacement(part, 'user'), [
    { kind: 'copy', gpa: 0x1000000, lengthBytes: 0x3000, fileOffset: 0x1000 },
    { kind: 'zero', gpa: 0x1003000, lengthBytes: 0x2000 },
  ] satisfies PlacementPiece[]);
});

test('a segment whose offset in the page differs between file and memory is copied', () => {
  const part = { gpa: 0x1000000, memSizeBytes: 0x9000, fileOffset: 0x200, fileSizeBytes: 0x9000 };
  assert.deepEqual(planPlacement(part, 'cache'), [
    { kind: 'copy', gpa: 0x1000000, lengthBytes: 0x9000, fileOffset: 0x200 },
  ]);
});

test('pieces cover each byte once, and mappings show no byte of another place', () => {
  const random = seededRandom(3);
  for (let round = 0; round < 20_000; round++) {
    const fileSizeBytes = random(5 * 4096);
    const gpa = 0x1000000 + random(2 * 4096);
    const part = {
      gpa,
      memSizeBytes: fileSizeBytes + random(2) * random(9000),
      fileOffset: random(2) ? gpa % 4096 : random(9000),
      fileSizeBytes,
    };
    let at = gpa;
    for (const piece of planPlacement(part, random(4) ? 'cache' : 'user')) {
      assert.equal(piece.gpa, at);
      assert.ok(piece.lengthBytes > 0);
      at += piece.lengthBytes;
      if (piece.kind === 'zero') {
        assert.equal(piece.gpa, gpa + fileSizeBytes);
        continue;
      }
      assert.equal(piece.fileOffset - part.fileOffset, piece.gpa - gpa);
      assert.ok(at <= gpa + fileSizeBytes);
      if (piece.kind === 'map') {
        assert.equal((piece.gpa | piece.lengthBytes | piece.fileOffset) % 4096, 0);
      }
    }
    assert.equal(at, gpa + part.memSizeBytes);
  }
});

test('segments may be adjacent but not overlap, in any order', () => {
  const touching = [placement(0x1001800, 0x800), placement(0x1000000, 0x1800)];
  checkPlacements('vmlinux', touching, SPACE);
  assert.throws(
    () => checkPlacements('vmlinux', [...touching, placement(0x10017ff, 1)], SPACE),
    tsvmError('invalid-kernel', /vmlinux: p_paddr 0x10017ff\.\.0x1001800 overlaps/),
  );
});

test('a segment that overlaps the boot data is refused', () => {
  checkPlacements('vmlinux', [placement(0x100000, 1)], SPACE);
  for (const gpa of [0, 0x2000, 0xfffff]) {
    assert.throws(
      () => checkPlacements('vmlinux', [placement(gpa, 0x200000)], SPACE),
      tsvmError('invalid-kernel', /overlaps the boot data below 0x100000/),
    );
  }
});

test('a segment in or above the device hole is refused', () => {
  for (const gpa of [0xbfffffff, 0xc0000000, 0x100000000, 2 ** 52]) {
    assert.throws(
      () => checkPlacements('vmlinux', [placement(gpa, 2)], SPACE),
      tsvmError('invalid-kernel', /overlaps the device hole at 0xc0000000/),
    );
  }
});

test('a kernel that needs more memory says how much', () => {
  checkPlacements('vmlinux', [placement(0x7fff000, 0x1000)], SPACE);
  assert.throws(
    () => checkPlacements('vmlinux', [placement(0x7fff000, 0x1001)], SPACE),
    tsvmError('invalid-config', /up to 0x8000001, the guest has 0x8000000: .* 129 MiB/),
  );
});
