import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { crc32 } from 'node:zlib';
import { DiskReader } from '../../../../../vmm/loader/disk-boot/disk-source.ts';
import type { PartitionTable } from '../../../../../vmm/loader/disk-boot/partition-table/partition.ts';
import { readPartitions } from '../../../../../vmm/loader/disk-boot/partition-table/read-partitions.ts';
import { bytesDisk, emptyImage, run } from '../../../../support/disk-boot/file-system-images.ts';
import { temporaryFolder } from '../../../../support/tsvm-process.ts';

const MIB = 2 ** 20;
const SIZE_MIB = 64;

function makeTable(context: TestContext, script: string): string {
  const path = emptyImage(join(temporaryFolder(context), 'disk'), SIZE_MIB);
  execFileSync('sfdisk', ['-q', path], {
    input: script,
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  return path;
}

function tableOf(bytes: Uint8Array): PartitionTable | undefined {
  return readPartitions(new DiskReader(bytesDisk(bytes)));
}

interface SfdiskPartition {
  readonly node: string;
  readonly size: number;
  readonly uuid?: string;
}

/** What sfdisk reads of the same disk. */
function sfdiskTable(path: string) {
  const { partitiontable } = JSON.parse(run('sfdisk', '--json', path)) as {
    partitiontable: { id: string; sectorsize: number; partitions: SfdiskPartition[] };
  };
  return partitiontable.partitions
    .map(({ node, size, uuid }) => ({
      number: Number(/\d+$/.exec(node)?.[0]),
      sizeBytes: size * partitiontable.sectorsize,
      partUuid: uuid?.toLowerCase(),
    }))
    .filter(({ sizeBytes }) => sizeBytes > 0);
}

function ourTable(path: string) {
  const { partitions = [] } = tableOf(readFileSync(path)) ?? {};
  return partitions.map(({ number, volume, partUuid }) => ({
    number,
    sizeBytes: volume.sizeBytes,
    partUuid,
  }));
}

const GPT = `label: gpt
size=8M, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
size=8M, type=BC13C2FF-59E6-4262-A352-B275FD6F7172
5: size=16M, name="root"
`;

test('GPT, as sfdisk reads it', (context) => {
  const path = makeTable(context, GPT);
  assert.deepEqual(ourTable(path), sfdiskTable(path));
  const table = tableOf(readFileSync(path));
  assert.equal(table?.kind, 'gpt');
  const uses = table?.partitions.map(({ use }) => use);
  assert.deepEqual(uses, ['esp', 'xbootldr', 'other']);
});

test('GPT with sectors of 4 KiB, as fdisk reads it', (context) => {
  const path = emptyImage(join(temporaryFolder(context), 'disk'), SIZE_MIB);
  const input = 'g\nn\n1\n\n+8M\nn\n5\n\n+16M\nw\n';
  execFileSync('fdisk', ['-b', '4096', path], { input, stdio: ['pipe', 'ignore', 'ignore'] });
  const columns = ['-b', '4096', '-l', '-o', 'Device,Sectors,UUID', path];
  const rows = run('fdisk', ...columns).matchAll(/^\S+?(\d+) +(\d+) (\S+)$/gm);
  const expected = Array.from(rows, ([, number, sectors, uuid = '']) => ({
    number: Number(number),
    sizeBytes: Number(sectors) * 4096,
    partUuid: uuid.toLowerCase(),
  }));
  assert.equal(expected.length, 2);
  assert.deepEqual(ourTable(path), expected);
});

test('GPT: a damaged table is replaced by its backup', (context) => {
  const path = makeTable(context, GPT);
  const bytes = readFileSync(path);
  const expected = ourTable(path);
  for (const offset of [512 + 20, 1024 + 33]) {
    const damaged = Buffer.from(bytes);
    damaged.writeUInt8(damaged.readUInt8(offset) ^ 1, offset);
    writeFileSync(path, damaged);
    assert.deepEqual(ourTable(path), expected, `byte ${offset}`);
  }
});

test('GPT: a table that is damaged together with its backup is an error', (context) => {
  const bytes = readFileSync(makeTable(context, GPT));
  bytes.fill(0xff, 1024, 1200);
  bytes.fill(0xff, bytes.length - 33 * 512, bytes.length - 32 * 512);
  assert.throws(() => tableOf(bytes), /GPT.*checksum/);
});

/** Changes both headers as a hostile disk has them: with right checksums. */
function changeHeaders(bytes: Buffer, change: (header: Buffer) => void): void {
  for (const at of [512, bytes.length - 512]) {
    const header = bytes.subarray(at, at + 92);
    change(header);
    header.writeUInt32LE(0, 16);
    header.writeUInt32LE(crc32(header), 16);
  }
}

test('GPT: entries without end, of no size, and outside the disk are refused', (context) => {
  const bytes = readFileSync(makeTable(context, GPT));
  const changes: [change: (header: Buffer) => void, message: RegExp][] = [
    [(header) => header.writeUInt32LE(2 ** 31, 80), /2147483648 entries of 128 bytes/],
    [(header) => header.writeUInt32LE(0, 84), /entries of 0 bytes/],
    [(header) => header.writeUInt32LE(2 ** 32 - 1, 84), /entries of 4294967295 bytes/],
    [(header) => header.writeBigUInt64LE(2n ** 63n, 72), /out of range/],
    [(header) => header.writeBigUInt64LE(2n ** 40n, 72), /exceed/],
  ];
  for (const [change, message] of changes) {
    const hostile = Buffer.from(bytes);
    changeHeaders(hostile, change);
    assert.throws(() => tableOf(hostile), message);
  }
});

const MBR = `label: dos
size=8M, type=ef
size=8M, type=83
type=5
size=4M, type=83
size=4M, type=83
size=4M, type=83
`;

test('MBR with logical partitions, as sfdisk reads it', (context) => {
  const path = makeTable(context, MBR);
  const expected = sfdiskTable(path);
  const extended = expected.findIndex(({ number }) => number === 3);
  assert.ok(extended >= 0);
  const { id } = (JSON.parse(run('sfdisk', '--json', path)) as { partitiontable: { id: string } })
    .partitiontable;
  assert.deepEqual(
    ourTable(path),
    expected
      .filter(({ number }) => number !== 3)
      .map(({ number, sizeBytes }) => ({
        number,
        sizeBytes,
        partUuid: `${id.slice(2)}-${String(number).padStart(2, '0')}`,
      })),
  );
  const table = tableOf(readFileSync(path));
  assert.equal(table?.kind, 'msdos');
  assert.equal(table?.partitions[0]?.use, 'esp');
});

/** The place of the first logical partition's boot record, in bytes. */
function firstBootRecord(bytes: Buffer): number {
  return bytes.readUInt32LE(0x1be + 2 * 16 + 8) * 512;
}

test('MBR: logical partitions that loop are a problem, and the others are there', (context) => {
  const bytes = readFileSync(makeTable(context, MBR));
  // The link of the first record to the second leads back to the first.
  bytes.writeUInt32LE(0, firstBootRecord(bytes) + 0x1be + 16 + 8);
  const table = tableOf(bytes);
  assert.deepEqual(
    table?.partitions.map(({ number }) => number),
    [1, 2],
  );
  assert.match(table?.problems.join() ?? '', /loops/);
});

test('MBR: a link and a partition outside the disk are problems', (context) => {
  const bytes = readFileSync(makeTable(context, MBR));
  bytes.writeUInt32LE(0xfffffff0, firstBootRecord(bytes) + 0x1be + 16 + 8);
  bytes.writeUInt32LE(0xffffffff, 0x1be + 16 + 12);
  const table = tableOf(bytes);
  assert.deepEqual(
    table?.partitions.map(({ number }) => number),
    [1],
  );
  assert.match(table?.problems.join() ?? '', /partition 2: .* not inside the disk/);
  assert.match(table?.problems.join() ?? '', /boot record/);
});

test('a disk without a table, and one that is only a FAT file system, have none', (context) => {
  assert.equal(tableOf(new Uint8Array(MIB)), undefined);
  assert.equal(tableOf(new Uint8Array(100)), undefined);
  const path = emptyImage(join(temporaryFolder(context), 'fat'), 16);
  run('mkfs.vfat', path);
  assert.equal(tableOf(readFileSync(path)), undefined);
});
