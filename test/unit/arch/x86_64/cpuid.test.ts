import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  type CpuidRegister,
  featureBit,
  featureNames,
} from '../../../../vmm/arch/x86_64/cpu-features.ts';
import { clearCpuidWords, cpuidEntries } from '../../../../vmm/arch/x86_64/cpuid.ts';
import {
  type CpuidEntry,
  decodeCpuid,
  encodeCpuid,
} from '../../../../vmm/arch/x86_64/cpuid-entry.ts';

function entry(leaf: number, registers: Partial<CpuidEntry> = {}): CpuidEntry {
  const index = registers.index ?? 0;
  return { function: leaf, index, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0, ...registers };
}

const ALL = 0xffffffff;

/** Every feature, XSAVE state up to AMX, and supervisor state 11. */
const COMMON = [
  entry(1, { eax: 0x00a10f11, ebx: 0x05ff0800, ecx: 0x7fffffff, edx: 0x078bfbff }),
  entry(6, { eax: 0x04 }),
  entry(7, { flags: 1, eax: 1, ebx: ALL, ecx: ALL, edx: ALL }),
  entry(7, { flags: 1, index: 1, eax: ALL }),
  entry(0xb, { flags: 1, edx: 77 }),
  entry(0xd, { flags: 1, eax: 0x602e7, ebx: 0x2b00, ecx: 0x2b00 }),
  entry(0xd, { flags: 1, index: 1, eax: 0x0f, ebx: 0x300, ecx: 0x800 }),
  entry(0xd, { flags: 1, index: 2, eax: 256, ebx: 576 }),
  entry(0xd, { flags: 1, index: 5, eax: 64, ebx: 832 }),
  entry(0xd, { flags: 1, index: 6, eax: 512, ebx: 896 }),
  entry(0xd, { flags: 1, index: 7, eax: 1024, ebx: 1408 }),
  entry(0xd, { flags: 1, index: 9, eax: 8, ebx: 2432 }),
  entry(0xd, { flags: 1, index: 11, eax: 16, ecx: 1 }),
  entry(0xd, { flags: 1, index: 17, eax: 64, ebx: 2752 }),
  entry(0xd, { flags: 1, index: 18, eax: 8192, ebx: 2816 }),
  entry(0x40000000, { eax: 0x40000001, ebx: 0x4b4d564b, ecx: 0x564b4d56, edx: 0x4d }),
  entry(0x40000001, { eax: 0x01007efb }),
  entry(0x80000001, { ecx: ALL, edx: ALL }),
];

const AMD = encodeCpuid([
  entry(0, { eax: 0x1c, ebx: 0x68747541, ecx: 0x444d4163, edx: 0x69746e65 }),
  ...COMMON,
  entry(0x80000008, { eax: 0x3030, ebx: ALL, ecx: 0x7001 }),
  entry(0x8000001d, { flags: 1, index: 0, eax: 0x121, ebx: 0x01c0003f, ecx: 63 }),
  entry(0x8000001d, { flags: 1, index: 3, eax: 0x4163, ebx: 0x03c0003f, ecx: 32767 }),
  entry(0x8000001d, { flags: 1, index: 4 }),
  entry(0x8000001e, { eax: 9, ebx: 9, ecx: 9 }),
]);

const INTEL = encodeCpuid([
  entry(0, { eax: 0x1f, ebx: 0x756e6547, ecx: 0x6c65746e, edx: 0x49656e69 }),
  ...COMMON,
  entry(4, { flags: 1, index: 0, eax: 0xfc004121, ebx: 0x02c0003f, ecx: 63 }),
  entry(4, { flags: 1, index: 3, eax: 0xfc1fc163, ebx: 0x02c0003f, ecx: 0xcfff }),
  entry(4, { flags: 1, index: 4 }),
  entry(0x1f, { flags: 1, edx: 77 }),
  entry(0x80000008, { eax: 0x302e }),
]);

/** What a vCPU's CPUID instruction answers. */
function vcpu(supported: Uint8Array, cpu = 0, cpus = 1, mask: string[] = []) {
  const entries = decodeCpuid(cpuidEntries(supported, { cpu, cpus, mask }));
  const find = (leaf: number, index = 0) =>
    entries.find((each) => each.function === leaf && each.index === index);
  return {
    find,
    leaf: (leaf: number, index = 0) => find(leaf, index) ?? assert.fail(`leaf ${leaf}.${index}`),
    has: (name: string) => {
      const place = featureBit(name) ?? assert.fail(name);
      const found = find(place.function, place.index);
      return found !== undefined && ((found[place.register] >>> place.bit) & 1) === 1;
    },
  };
}

const bits = (value: number, high: number, low: number) =>
  Math.floor(value / 2 ** low) % 2 ** (high - low + 1);

test('without a mask all features and the paravirtual leaves stay as KVM reports them', () => {
  const { leaf, has } = vcpu(INTEL);
  const missing = featureNames().filter((name) => !has(name));
  assert.deepEqual(missing, ['clzero', 'xsaveerptr', 'rdpru', 'wbnoinvd'], 'AMD only');
  assert.equal(leaf(0x40000001).eax, 0x01007efb);
  assert.equal(leaf(0x40000000).ebx, 0x4b4d564b);
  assert.equal(leaf(0xd).eax, 0x602e7);
  assert.equal(leaf(0xd).ecx, 0x2b00);
});

test('the hypervisor bit is set', () => {
  assert.equal(bits(vcpu(AMD).leaf(1).ecx, 31, 31), 1);
});

test('the TSC deadline timer is shown when KVM has it, listed or not', () => {
  const listed = (supported: Uint8Array, tscDeadlineTimer?: boolean) => {
    const given = { cpu: 0, cpus: 1, mask: [], ...(tscDeadlineTimer && { tscDeadlineTimer }) };
    const leaf1 = decodeCpuid(cpuidEntries(supported, given)).find((each) => each.function === 1);
    return bits(leaf1?.ecx ?? 0, 24, 24);
  };
  const unlisted = encodeCpuid([entry(0, { eax: 1 }), entry(1)]);
  assert.equal(listed(AMD), 1);
  assert.equal(listed(unlisted), 0);
  assert.equal(listed(unlisted, true), 1);
});

for (const [vendor, supported] of [
  ['AMD', AMD],
  ['Intel', INTEL],
] as const) {
  test(`${vendor}: leaf 1 and leaf 0xB place each of 6 vCPUs`, () => {
    for (let cpu = 0; cpu < 6; cpu++) {
      const { leaf, find } = vcpu(supported, cpu, 6);
      assert.equal(bits(leaf(1).ebx, 31, 24), cpu, 'initial APIC id');
      assert.equal(bits(leaf(1).ebx, 23, 16), 8, 'ids that a package may use');
      assert.equal(bits(leaf(1).ebx, 15, 8), 8, 'the CLFLUSH size is left alone');
      assert.equal(bits(leaf(1).edx, 28, 28), 1, 'HTT');
      const [smt, core, end] = [0, 1, 2].map((index) => leaf(0xb, index));
      assert.deepEqual([smt?.eax, smt?.ebx, smt?.ecx, smt?.edx], [0, 1, 0x100, cpu]);
      assert.deepEqual([core?.eax, core?.ebx, core?.ecx, core?.edx], [3, 6, 0x201, cpu]);
      assert.deepEqual([end?.ebx, end?.ecx, end?.edx], [0, 2, cpu]);
      assert.ok(
        [smt, core, end].every((level) => level?.flags === 1),
        'the index counts',
      );
      assert.equal(find(0x1f) !== undefined, vendor === 'Intel', '0x1F up to the highest leaf');
    }
  });
}

test('one vCPU has no hyper-threading flag and no id bits', () => {
  const { leaf } = vcpu(AMD);
  assert.equal(bits(leaf(1).edx, 28, 28), 0);
  assert.equal(bits(leaf(1).ebx, 23, 16), 1);
  assert.equal(leaf(0xb, 1).eax, 0);
  assert.equal(bits(leaf(0x80000001).ecx, 1, 1), 0, 'CmpLegacy');
});

test('Intel: leaf 4 shares the last level cache between all, and the others not', () => {
  const { leaf } = vcpu(INTEL, 1, 6);
  assert.equal(bits(leaf(4, 0).eax, 25, 14), 0);
  assert.equal(bits(leaf(4, 3).eax, 25, 14), 7);
  assert.equal(bits(leaf(4, 0).eax, 31, 26), 7, 'cores of the package');
  assert.equal(bits(leaf(4, 3).eax, 13, 0), 0x163, 'the rest is left alone');
  assert.equal(leaf(4, 4).eax, 0, 'the end of the list stays one');
});

test('AMD: core count, id size, cache sharing and the extended APIC id', () => {
  const { leaf } = vcpu(AMD, 5, 6);
  assert.equal(bits(leaf(0x80000008).ecx, 7, 0), 5);
  assert.equal(bits(leaf(0x80000008).ecx, 15, 12), 3);
  assert.equal(bits(leaf(0x80000001).ecx, 1, 1), 1, 'CmpLegacy');
  assert.equal(bits(leaf(0x8000001d, 0).eax, 25, 14), 0);
  assert.equal(bits(leaf(0x8000001d, 3).eax, 25, 14), 5);
  assert.equal(leaf(0x8000001d, 4).eax, 0);
  const { eax, ebx, ecx } = leaf(0x8000001e);
  assert.deepEqual([eax, ebx, ecx], [5, 5, 0]);
});

test('masking avx hides dependent features and the state of AVX and AVX-512', () => {
  const { leaf, find, has } = vcpu(AMD, 0, 1, ['avx']);
  for (const name of ['avx', 'avx2', 'fma', 'f16c', 'vaes', 'avx512f', 'avx512vl', 'avx_vnni']) {
    assert.equal(has(name), false, name);
  }
  for (const name of ['xsave', 'sse4_2', 'aes', 'bmi2', 'pku']) assert.equal(has(name), true, name);
  assert.equal(leaf(0xd).eax, 0x60203);
  for (const component of [2, 5, 6, 7]) assert.equal(find(0xd, component), undefined);
  assert.equal(leaf(0xd).ecx, 2816 + 8192, 'AMX is still the last');
});

test('masking avx512f and amx_tile shrinks the XSAVE area', () => {
  const { leaf, has } = vcpu(AMD, 0, 1, ['avx512f', 'amx_tile', 'pku']);
  assert.equal(has('avx2'), true);
  assert.equal(leaf(0xd).eax, 0x7);
  assert.equal(leaf(0xd).ecx, 832);
  assert.equal(leaf(0xd).ebx, 832);
});

test('masking xsaves hides supervisor state; masking xsave hides the leaf', () => {
  const noSupervisor = vcpu(AMD, 0, 1, ['xsaves']);
  assert.deepEqual([noSupervisor.leaf(0xd, 1).eax, noSupervisor.leaf(0xd, 1).ecx], [7, 0]);
  assert.equal(noSupervisor.find(0xd, 11), undefined);
  assert.notEqual(noSupervisor.find(0xd, 9), undefined);
  const none = vcpu(AMD, 0, 1, ['xsave']);
  assert.equal(none.find(0xd), undefined);
  assert.equal(none.has('avx'), false);
});

test('an unknown feature is refused, with the nearest names', () => {
  for (const use of [
    () => cpuidEntries(AMD, { cpu: 0, cpus: 1, mask: ['avx_512f'] }),
    () => clearCpuidWords(['avx_512f']),
  ]) {
    assert.throws(use, { code: 'invalid-config', message: /"avx_512f".*avx512f/ });
  }
});

test('clearcpuid words are the names, each once', () => {
  assert.deepEqual(clearCpuidWords(['smap', 'xsavec', 'smap']), ['smap', 'xsavec']);
});

test('a table that ends within an entry is read up to there', () => {
  assert.equal(decodeCpuid(AMD.subarray(0, 100)).length, 2);
});

const compiler = spawnSync('cc', ['--version']);
const skip = compiler.error ? 'cc is missing: apt-get install gcc linux-libc-dev' : false;

describe('against the C headers and this CPU', { skip }, () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'tsvm-cpuid-'));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  function runC(source: string): Buffer {
    writeFileSync(join(folder, 'program.c'), source);
    execFileSync('cc', ['-o', 'program', 'program.c'], { cwd: folder });
    return execFileSync(join(folder, 'program'));
  }

  test('entries have the layout of struct kvm_cpuid_entry2', () => {
    const bytes = runC(`
      #include <linux/kvm.h>
      #include <stdio.h>
      int main(void) {
        struct kvm_cpuid_entry2 e[2] = {
          {.function = 1, .index = 2, .flags = 3, .eax = 4, .ebx = 5, .ecx = 6, .edx = 7},
          {.function = 0x80000001, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .edx = 0xffffffff}};
        fwrite(e, sizeof e, 1, stdout);
      }`);
    const entries = [
      entry(1, { index: 2, flags: 3, eax: 4, ebx: 5, ecx: 6, edx: 7 }),
      entry(0x80000001, { flags: 1, edx: 0xffffffff }),
    ];
    assert.deepEqual(decodeCpuid(bytes), entries);
    assert.deepEqual(Buffer.from(encodeCpuid(entries)), bytes);
  });

  test('each feature in /proc/cpuinfo is set at the table’s bit', (t) => {
    const [, flags = ''] = /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8')) ?? [];
    /* Linux sets these by itself on some CPUs. */
    const setByLinux = new Set(['arat', '3dnowprefetch', 'topoext']);
    const listed = flags
      .trim()
      .split(' ')
      .filter((name) => featureBit(name) !== undefined && !setByLinux.has(name));
    if (listed.length === 0) return t.skip('/proc/cpuinfo lists no x86 features');
    const leaves = [...new Set(featureNames().map((name) => featureBit(name)))];
    const calls = leaves.map(
      (place) => `show(0x${place?.function.toString(16)}u, ${place?.index});`,
    );
    const output = runC(`
      #include <cpuid.h>
      #include <stdio.h>
      static void show(unsigned leaf, unsigned index) {
        unsigned a, b, c, d;
        if (!__get_cpuid_count(leaf, index, &a, &b, &c, &d)) return;
        printf("%u %u %u %u %u %u\\n", leaf, index, a, b, c, d);
      }
      int main(void) { ${[...new Set(calls)].join('\n')} }`).toString();
    const registers: readonly CpuidRegister[] = ['eax', 'ebx', 'ecx', 'edx'];
    const isSet = (name: string) => {
      const place = featureBit(name);
      const line = output.split('\n').find((each) => {
        return place && each.startsWith(`${place.function} ${place.index} `);
      });
      if (!place || !line) return false;
      const value = Number(line.split(' ')[2 + registers.indexOf(place.register)]);
      return ((value >>> place.bit) & 1) === 1;
    };
    assert.deepEqual(
      listed.filter((name) => !isSet(name)),
      [],
    );
    t.diagnostic(`${listed.length} features compared`);
  });
});
