import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backingChoice } from '../../../../vmm/cli/image/backing-choice.ts';
import { withRepairMode } from '../../../../vmm/cli/image/check.ts';
import { parseSnapshotSelector } from '../../../../vmm/cli/image/convert.ts';
import {
  asksForHelp,
  creationOptionsHelp,
  parseCreationOptions,
} from '../../../../vmm/cli/image/creation-options.ts';
import { formatImageSize, parseImageSize } from '../../../../vmm/cli/image/image-size.ts';
import { parseNumber } from '../../../../vmm/cli/image/option-values.ts';
import { parseNewSize, withSizeLast } from '../../../../vmm/cli/image/resize.ts';

test('sizes are read as qemu-img reads them', () => {
  for (const [text, bytes] of [
    ['0', 0],
    ['512', 512],
    ['512b', 512],
    ['4k', 4096],
    ['4K', 4096],
    ['1.5M', 1.5 * 2 ** 20],
    ['1.3k', 1331],
    ['20G', 20 * 2 ** 30],
    ['2t', 2 ** 41],
    ['1P', 2 ** 50],
    ['0x1000', 4096],
    ['+1', 1],
    ['1.M', 2 ** 20],
    ['65536.0', 65_536],
  ] as const) {
    assert.equal(parseImageSize(text), bytes, text);
  }
  for (const text of ['', 'k', '-1', '.5M', '1.5', '1Z', '1KiB', '1 k', '8E', '1e3', '0x']) {
    assert.equal(parseImageSize(text), undefined, text);
  }
});

test('sizes are written as qemu-img writes them', () => {
  for (const [bytes, text] of [
    [0, '0 B'],
    [999, '999 B'],
    [1000, '0.977 KiB'],
    [10_240, '10 KiB'],
    [1_384_120, '1.32 MiB'],
    [64 * 2 ** 20, '64 MiB'],
    [1023 * 2 ** 20, '0.999 GiB'],
    [2 ** 50, '1 PiB'],
  ] as const) {
    assert.equal(formatImageSize(bytes), text);
  }
});

test('-o: names, values, and a comma in a value written twice', () => {
  assert.deepEqual(
    parseCreationOptions(
      ['size=1G,cluster_size=2M,compat=v2', 'backing_file=a,,b.img,backing_fmt=raw'],
      'qcow2',
    ),
    {
      sizeBytes: 2 ** 30,
      clusterBytes: 2 ** 21,
      version: 2,
      backingFile: 'a,b.img',
      backingFormat: 'raw',
    },
  );
  assert.deepEqual(
    parseCreationOptions(['lazy_refcounts,extended_l2=off', 'lazy_refcounts=off'], 'qcow2'),
    { lazyRefcounts: false, extendedL2: false },
  );
  for (const list of [
    'colour=red',
    'toString=1',
    'cluster_size=big',
    'compat=3',
    'refcount_bits=x',
    'preallocation=some',
    'lazy_refcounts=maybe',
    'compression_type=lzma',
    'backing_fmt=ext4',
    'encryption=on',
  ]) {
    assert.throws(() => parseCreationOptions([list], 'qcow2'), { code: 'invalid-config' }, list);
  }
  assert.throws(() => parseCreationOptions(['cluster_size=64k'], 'raw'), /raw images have no/);
});

test('-o help lists what a format has', () => {
  assert.equal(asksForHelp(['size=1G,help']), true);
  assert.equal(asksForHelp(['size=1G']), false);
  assert.match(creationOptionsHelp('qcow2'), /^ {2}cluster_size=<size> +- /m);
  assert.doesNotMatch(creationOptionsHelp('raw'), /cluster_size/);
});

test('--repair takes a word only if that says what to repair', () => {
  assert.deepEqual(withRepairMode(['--repair', 'a.qcow2']), ['--repair', 'all', 'a.qcow2']);
  assert.deepEqual(withRepairMode(['-r', 'leaks', 'a.qcow2']), ['-r', 'leaks', 'a.qcow2']);
  assert.deepEqual(withRepairMode(['a.qcow2', '--repair']), ['a.qcow2', '--repair', 'all']);
  assert.deepEqual(withRepairMode(['--repair=leaks', 'a']), ['--repair=leaks', 'a']);
});

test('a size with a minus sign is not an option', () => {
  assert.deepEqual(withSizeLast(['a.img', '-1G']), ['a.img', '--', '-1G']);
  assert.deepEqual(withSizeLast(['a.img', '--', '-1G']), ['a.img', '--', '-1G']);
  assert.deepEqual(withSizeLast(['a.img', '+1G']), ['a.img', '+1G']);
  assert.deepEqual(withSizeLast(['1G', '-q']), ['1G', '-q']);
  assert.deepEqual(withSizeLast([]), []);
  assert.deepEqual(parseNewSize('-1k'), { sign: '-', bytes: 1024 });
  assert.deepEqual(parseNewSize('+512'), { sign: '+', bytes: 512 });
  assert.deepEqual(parseNewSize('2M'), { sign: '', bytes: 2 ** 21 });
  for (const text of ['', '+', '--1', '+-1', '1x']) assert.throws(() => parseNewSize(text), text);
});

test('a snapshot is named by its id, its name, or both', () => {
  assert.deepEqual(parseSnapshotSelector('today'), { idOrName: 'today' });
  assert.deepEqual(parseSnapshotSelector('snapshot.id=1,snapshot.name=a b'), {
    id: '1',
    name: 'a b',
  });
  assert.deepEqual(parseSnapshotSelector('snapshot.name=x'), { id: undefined, name: 'x' });
});

test('the format of a backing file is said, or its name tells', () => {
  assert.deepEqual(backingChoice('dir/top.qcow2', 'base.qcow2', undefined), {
    name: 'base.qcow2',
    format: 'qcow2',
    path: 'dir/base.qcow2',
  });
  assert.equal(backingChoice('dir/top.qcow2', '/abs/base', 'raw').path, '/abs/base');
  assert.equal(backingChoice('top.qcow2', 'base.qcow2', 'raw').format, 'raw');
  assert.throws(() => backingChoice('top.qcow2', 'base.img', undefined), /use -F/);
});

test('numbers have bounds', () => {
  const parse = parseNumber(1, 300);
  assert.equal(parse('0xff'), 255);
  for (const text of ['0', '301', '1.5', '', 'x', '-1']) assert.throws(() => parse(text), text);
});
