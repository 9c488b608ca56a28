/** A session with a machine that is a page of memory and registers of zeroes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodePacket, PacketDecoder } from '../../../vmm/gdb/packets.ts';
import { GdbSession } from '../../../vmm/gdb/session.ts';
import {
  type BreakpointSettings,
  CAUSE_BREAKPOINT,
  CAUSE_STEP,
  type CpuBlock,
  type DebugTarget,
} from '../../../vmm/gdb/target.ts';
import { GuestMemory } from '../../../vmm/memory/guest-memory.ts';
import { Random } from '../../support/random.ts';

const SIZES: Readonly<Record<CpuBlock, number>> = { regs: 144, sregs: 312, xsave: 4096 };
const RIP_OFFSET = 128;
const CPUS = 3;

class FakeTarget implements DebugTarget {
  readonly cpus = CPUS;
  readonly needsInt3: boolean;
  readonly breakpointsMax = 8;
  readonly bytes = new Uint8Array(4096);
  readonly memory = new GuestMemory([{ gpa: 0, sizeBytes: 4096, bytes: this.bytes }]);
  readonly resumed: [running: number, stepping: number][] = [];
  settings: BreakpointSettings | undefined;
  killed = false;
  readonly #blocks = Array.from({ length: CPUS }, () => ({
    regs: new Uint8Array(SIZES.regs),
    sregs: new Uint8Array(SIZES.sregs),
    xsave: new Uint8Array(SIZES.xsave),
  }));

  constructor(needsInt3 = true) {
    this.needsInt3 = needsInt3;
  }

  halt = () => Promise.resolve();
  resume = (running: number, stepping: number) => void this.resumed.push([running, stepping]);
  setBreakpoints(settings: BreakpointSettings): void {
    this.settings = settings;
  }
  readCpu = (cpu: number, block: CpuBlock) => this.#block(cpu, block);
  writeCpu = (cpu: number, block: CpuBlock, bytes: Uint8Array) =>
    this.#block(cpu, block).set(bytes);
  readMsr = () => 0n;
  kill(): void {
    this.killed = true;
  }

  setRip(cpu: number, rip: number): void {
    new DataView(this.#block(cpu, 'regs').buffer).setBigUint64(RIP_OFFSET, BigInt(rip), true);
  }

  #block(cpu: number, block: CpuBlock): Uint8Array {
    const blocks = this.#blocks[cpu];
    assert.ok(blocks);
    return blocks[block];
  }
}

/** A started session, and a function that sends packets and returns the answers to them. */
async function open(target = new FakeTarget()) {
  const decoder = new PacketDecoder();
  const answers: string[] = [];
  let closed = false;
  const session = new GdbSession(target, {
    send: (bytes) => {
      for (const event of decoder.push(bytes)) {
        answers.push(event.kind === 'packet' ? event.payload : `<${event.kind}>`);
      }
    },
    close: () => {
      closed = true;
    },
  });
  await session.start();
  const take = () => answers.splice(0);
  const ask = (...payloads: string[]) => {
    for (const payload of payloads) session.receive(encodePacket(payload));
    return take().filter((answer) => answer !== '<ack>');
  };
  return { session, target, ask, take, isClosed: () => closed };
}

test('features are offered, and target.xml comes in pieces', async () => {
  const { ask } = await open();
  const [supported = ''] = ask('qSupported:swbreak+');
  for (const feature of ['qXfer:features:read+', 'QStartNoAckMode+', 'PacketSize=4000']) {
    assert.ok(supported.split(';').includes(feature), supported);
  }
  let xml = '';
  for (let more = true; more; ) {
    const [piece = ''] = ask(`qXfer:features:read:target.xml:${xml.length.toString(16)},100`);
    more = piece.startsWith('m');
    xml += piece.slice(1);
  }
  assert.match(
    xml,
    /^<\?xml.*<reg name="rax" bitsize="64" type="int64" regnum="0"\/>.*<\/target>$/,
  );
  assert.deepEqual(ask('qXfer:features:read:other.xml:0,100', 'vMustReplyEmpty'), ['E00', '']);
});

test('without acknowledgements none are sent', async () => {
  const { session, take } = await open();
  session.receive(encodePacket('QStartNoAckMode'));
  session.receive(encodePacket('qC'));
  assert.deepEqual(take(), ['<ack>', 'OK', 'QC1']);
});

test('an answer is repeated for a client that missed it, not for ever', async () => {
  const { session, ask, take, isClosed } = await open();
  ask('qC');
  for (let i = 0; i < 20; i++) session.receive(Buffer.from('-'));
  assert.equal(take().length, 8);
  assert.ok(isClosed());
});

test('an INT3 is in memory only while the guest runs', async () => {
  const { session, target, ask, take } = await open();
  target.bytes[0x123] = 0x55;
  target.setRip(1, 0x123);
  ask('qSupported:swbreak+');
  assert.deepEqual(ask('Z0,123,1', 'm123,1', 'vCont;c'), ['OK', '55']);
  assert.equal(target.bytes[0x123], 0xcc);
  assert.deepEqual(target.settings?.addresses, [0x123n]);
  session.stopped([{ cpu: 1, causes: CAUSE_BREAKPOINT }]);
  assert.equal(target.bytes[0x123], 0x55);
  assert.match(take().join(), /^T05thread:2;swbreak:;10:2301000000000000;/);
  // Code that the guest replaces meanwhile stays.
  ask('vCont;c');
  target.bytes[0x123] = 0x90;
  session.stopped([{ cpu: 1, causes: CAUSE_BREAKPOINT }]);
  assert.equal(target.bytes[0x123], 0x90);
});

test('an address that is not mapped yet gets a debug register, if one is free', async () => {
  const { target, ask } = await open();
  for (const digit of '1234') assert.deepEqual(ask(`Z0,ffff80000000000${digit},1`), ['OK']);
  assert.deepEqual(ask('Z0,ffff800000000005,1', 'Z1,10,1', 'vCont;c'), ['E14', 'E28']);
  assert.equal(target.settings?.registers[3], 0xffff_8000_0000_0004n);
  assert.equal(target.settings?.dr7, 0x455);
});

test('a range that is watched takes as many aligned registers as it needs', async () => {
  const { target, ask } = await open();
  assert.deepEqual(ask('Z2,101,7', 'Z2,200,1'), ['OK', 'OK']);
  ask('vCont;c');
  assert.deepEqual(target.settings?.registers, [0x101n, 0x102n, 0x104n, 0x200n]);
  // L0 to L3; one, two, four and one byte; writes.
  assert.equal(target.settings?.dr7, 0x1d51_0455);
});

test('actions of vCont: the first for a thread counts', async () => {
  const { session, target, ask, take } = await open();
  const stop = () => {
    session.stopped([{ cpu: 0, causes: CAUSE_STEP }]);
    assert.match(take().join(), /T05thread:1;/);
  };
  for (const [packet, running, stepping] of [
    ['vCont;c', 7, 0],
    ['vCont;s:2', 2, 2],
    ['vCont;s:1;c', 7, 1],
    ['vCont;c:3;s:-1', 7, 3],
    ['C05', 7, 0],
    ['s', 1, 1],
  ] as const) {
    ask(packet);
    assert.deepEqual(target.resumed.pop(), [running, stepping], packet);
    stop();
  }
  assert.deepEqual(ask('vCont;c:4', 'vCont;x', 'vCont;s:0'), ['E22', 'E22', 'E22']);
  assert.deepEqual(target.resumed, []);
});

test('data that another vCPU hit at the same time is reported before anything runs', async () => {
  const { session, target, ask, take } = await open();
  ask('Z2,100,8', 'Z4,200,8', 'vCont;c');
  target.resumed.pop();
  session.stopped([
    { cpu: 2, causes: 2 },
    { cpu: 0, causes: 1 },
  ]);
  assert.match(take().join(), /T05thread:3;awatch:200;/);
  assert.match(ask('vCont;c').join(), /^T05thread:1;watch:100;/);
  assert.deepEqual(target.resumed, []);
});

test('leaving removes all breakpoints and continues all vCPUs', async () => {
  const { session, target, ask, take } = await open();
  ask('Z0,10,1', 'Z2,20,1', 'vCont;s:1');
  session.stopped([{ cpu: 0, causes: CAUSE_STEP }]);
  take();
  assert.deepEqual(ask('D'), ['OK']);
  await session.leave();
  assert.deepEqual(target.settings, { addresses: [], registers: [0n, 0n, 0n, 0n], dr7: 0 });
  assert.deepEqual(target.resumed.at(-1), [7, 0]);
  assert.equal(target.bytes[0x10], 0);
});

test('malformed packets get an error or an empty answer', async () => {
  const { ask } = await open();
  for (const packet of [
    'm',
    'm1',
    'mxyz,1',
    'm0,',
    'M0,2:00',
    'M0',
    'X0,9:1',
    'p',
    'pfff',
    'P0=1',
  ]) {
    assert.deepEqual(ask(packet), ['E22'], packet);
  }
  for (const packet of ['G00', 'T', 'T0', 'Hgx', 'Hg9', 'Z0,zz,1', 'Z2,0,0', 'qRcmd,0']) {
    assert.deepEqual(ask(packet), ['E22'], packet);
  }
  for (const packet of ['', 'Z9,0,1', 'Hz1', 'nonsense', 'vNonsense', 'qNonsense', 'QNonsense']) {
    assert.deepEqual(ask(packet), [''], packet);
  }
});

test('random packets never throw, and the session still answers', async () => {
  const random = new Random(11);
  const words =
    'm M X p P g G Z0 Z1 Z2 z2 vCont; qXfer: qRcmd, H T c s : , ; = - 0 1 ff ffffffffffffffff';
  const pieces = words.split(' ');
  for (let round = 0; round < 2000; round++) {
    const { session, ask, take } = await open(new FakeTarget(round % 2 === 0));
    for (let packet = 0; packet < 5; packet++) {
      const payload = Array.from(
        { length: 1 + random.below(8) },
        () => pieces[random.below(pieces.length)] ?? '',
      ).join('');
      session.receive(encodePacket(payload));
      session.stopped([{ cpu: random.below(CPUS), causes: random.below(64) }]);
    }
    take();
    assert.deepEqual(ask('T1'), ['OK']);
  }
});
