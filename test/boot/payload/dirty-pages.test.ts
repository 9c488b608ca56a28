/** The log of written pages, whoever writes: a kernel, a program, a data plane, this process. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { cpuidEntries } from '../../../vmm/arch/x86_64/cpuid.ts';
import { linux64State } from '../../../vmm/arch/x86_64/initial-state.ts';
import { memoryRegions, PAGE_TABLES_GPA, PVM_REGION_GPA } from '../../../vmm/arch/x86_64/layout.ts';
import { BOOT_MSRS } from '../../../vmm/arch/x86_64/msrs.ts';
import { composeIdentityMap } from '../../../vmm/arch/x86_64/page-tables.ts';
import { encodeRegs, patchSregs } from '../../../vmm/arch/x86_64/registers.ts';
import { type KernelMode, probeKvm } from '../../../vmm/kvm/host.ts';
import { KvmMemory, type MemoryBacking } from '../../../vmm/kvm/memory.ts';
import { KvmRegisterBank } from '../../../vmm/kvm/register-bank.ts';
import { Vm } from '../../../vmm/kvm/vm.ts';
import { chooseKernelMode } from '../../../vmm/machine/kernel-mode.ts';

const DEVICE = '/dev/kvm';
const CODE_GPA = 0x10_0000;
const USER_GPA = 0x10_0800;
/** Where the guest writes; below are its code and its page tables, whose bits the CPU sets. */
const A = 0x40_0000;
const B = 0x50_3000;
const C = 0x60_0000;
const D = 0x70_7000;
const FIRST_GPA = A;
const PORT = 0x100;
const PATIENCE_MS = 120_000;

const dword = (value: number) => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, 0];
/** mov byte [gpa + 5], 1 */
const store = (gpa: number) => [0xc6, 0x04, 0x25, ...dword(gpa + 5), 1];
/** mov dx, PORT; out dx, al: an exit to this test. */
const STOP = [0x66, 0xba, PORT & 0xff, PORT >> 8, 0xee];
const KERNEL = [
  ...[...store(A), ...STOP],
  ...[...store(A), ...store(B), ...STOP],
  // To CPL 3, with I/O privilege: mov ecx, USER_GPA; mov r11d, 0x3002; sysretq
  ...[0xb9, ...dword(USER_GPA), 0x41, 0xbb, ...dword(0x3002), 0x48, 0x0f, 0x07],
];
const USER = [
  ...[...store(C), ...STOP],
  ...[...store(C), ...store(D), ...STOP],
  ...[...STOP, 0xeb, 0xfe],
];
const MSR_STAR = 0xc000_0081;
const EFER_SCE = 1n;
const PTE_USER = 4;

interface Guest {
  readonly vm: Vm;
  readonly memory: KvmMemory;
  /** Lets the guest go on to its next stop. */
  next(): Promise<void>;
  /** The pages from {@link FIRST_GPA} on that were written since it was asked last. */
  dirty(): number[];
}

function startGuest(t: TestContext, kernelMode: KernelMode, backing: MemoryBacking): Guest {
  const memory = new KvmMemory(memoryRegions(16 * 2 ** 20), backing);
  const vm = new Vm({
    devicePath: DEVICE,
    memory,
    cpus: 1,
    kernelMode,
    pvmGpa: PVM_REGION_GPA,
    onWake: () => {},
  });
  t.after(() => {
    vm.close();
    memory.close();
  });
  // Programs run natively from their first instruction on.
  if (kernelMode === 'interpreter') {
    vm.tuneEngine({ userBudget: 0, translateAfter: 24, leavesStaleShadows: false });
  }
  const tables = composeIdentityMap(PAGE_TABLES_GPA);
  for (let at = 0; at < tables.length; at += 8) {
    if ((tables[at] ?? 0) & 1) tables[at] = (tables[at] ?? 0) | PTE_USER;
  }
  memory.write(PAGE_TABLES_GPA, tables);
  memory.write(CODE_GPA, Uint8Array.from(KERNEL));
  memory.write(USER_GPA, Uint8Array.from(USER));
  const { regs, sregs, gdt } = linux64State(CODE_GPA);
  memory.write(Number(sregs.gdt?.base), gdt);
  vm.setCpuid(0, cpuidEntries(vm.supportedCpuid(), { cpu: 0, cpus: 1, mask: [] }));
  const efer = (sregs.efer ?? 0n) | EFER_SCE;
  vm.setState(0, 'sregs', patchSregs(vm.getState(0, 'sregs'), { ...sregs, efer }));
  vm.setState(0, 'regs', encodeRegs(regs));
  vm.setMsrs(0, BOOT_MSRS);
  vm.setMsrs(0, new Map([[MSR_STAR, (0x08n << 32n) | (0x10n << 48n)]]));
  vm.attachBank('pio', PORT, new KvmRegisterBank({ lengthBytes: 4, wordCount: 1 }));
  const [slot] = vm.slots;
  assert.ok(slot);
  vm.start();
  // Not "is the slot pending": the guest may come to its first stop before it is asked for.
  let wasAsked = false;
  return {
    vm,
    memory,
    next: async () => {
      if (wasAsked) vm.completeExit(slot);
      wasAsked = true;
      const limit = performance.now() + PATIENCE_MS;
      while (!slot.pending) {
        assert.ok(performance.now() < limit, 'the guest comes to its next stop');
        await sleep(1);
      }
      assert.equal(slot.kind, 'write', vm.failureText(0));
    },
    dirty: () =>
      [...vm.takeDirtyPages().runs()].flatMap(({ gpa, lengthBytes }) =>
        Array.from({ length: lengthBytes / 4096 }, (_, page) => gpa + page * 4096).filter(
          (page) => page >= FIRST_GPA,
        ),
      ),
  };
}

async function logsEveryWriter(guest: Guest): Promise<void> {
  const { vm, memory, next, dirty } = guest;
  await next();
  assert.throws(() => vm.takeDirtyPages(), /EINVAL/);
  vm.setDirtyLog(true);
  assert.deepEqual(dirty(), [], 'what was written before does not count');
  await next();
  assert.deepEqual(dirty(), [A, B], 'the kernel writes again where it wrote before, and anew');
  assert.deepEqual(dirty(), []);
  await next();
  assert.deepEqual(dirty(), [C], 'a program writes');
  await next();
  assert.deepEqual(dirty(), [C, D]);
  memory.write(B + 100, new Uint8Array(4096));
  memory.discard(D, 4096);
  assert.deepEqual(dirty(), [B, B + 4096, D], 'this process writes, and discards');
  assert.equal(memory.slice(D + 5, 1)[0], 0);
  assert.equal(memory.slice(C + 5, 1)[0], 1);
  await next();
  assert.deepEqual(dirty(), []);
  vm.setDirtyLog(false);
  assert.throws(() => vm.takeDirtyPages(), /EINVAL/);
  vm.setDirtyLog(true);
  assert.deepEqual(dirty(), []);
}

const MODE = chooseKernelMode(probeKvm(DEVICE), 'auto');

for (const backing of ['anonymous', 'memfd'] as const) {
  test(`the log contains every page that is written: ${backing} memory`, async (t) => {
    await logsEveryWriter(startGuest(t, MODE, backing));
  });
}

test('the log contains every page that is written: KVM’s emulator runs the kernel', async (t) => {
  if (MODE === 'hardware') {
    t.diagnostic('a host with hardware virtualization has no such mode');
    return;
  }
  await logsEveryWriter(startGuest(t, 'emulator', 'anonymous'));
});
