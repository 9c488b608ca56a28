/**
 * Drives the 16550A as Linux's 8250 driver does: each sequence names the function of
 * drivers/tty/serial/8250 whose accesses it repeats.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Serial16550 } from '../../../../vmm/devices/legacy/serial-16550.ts';
import { SERIAL_BANK } from '../../../../vmm/devices/legacy/serial-registers.ts';
import { FakeInterruptLine, FakeRegisterBank } from '../../../support/fake-register-bank.ts';

/* Register offsets and bits as in Linux's include/uapi/linux/serial_reg.h. */
const UART = {
  RX: 0,
  TX: 0,
  IER: 1,
  IIR: 2,
  FCR: 2,
  EFR: 2,
  LCR: 3,
  MCR: 4,
  LSR: 5,
  MSR: 6,
  SCR: 7,
};
const LSR_IDLE = 0x60;
const LSR_DR = 0x01;
const IIR_NO_INT = 0x01;

class Sink {
  text = '';
  /** Each write fills it until {@link release}. */
  slow = false;
  /** It may be written to although it is full. */
  closing = false;
  #full = false;
  #drained = Promise.withResolvers<void>();

  write(bytes: Uint8Array): boolean {
    assert.ok(!this.#full || this.closing, 'a full sink is left alone');
    this.text += Buffer.from(bytes).toString('latin1');
    this.#full = this.slow;
    return !this.#full;
  }

  onceDrained(): Promise<void> {
    return this.#drained.promise;
  }

  release(): void {
    const { resolve } = this.#drained;
    this.#drained = Promise.withResolvers<void>();
    this.#full = false;
    resolve();
  }
}

function makeSerial(ringBytes = 64) {
  const bank = new FakeRegisterBank({ ...SERIAL_BANK, ringBytes });
  const interrupt = new FakeInterruptLine();
  const output = new Sink();
  const events = { space: 0, onSpace: () => {} };
  const serial = new Serial16550({
    bank,
    interrupt,
    output,
    onReceiveSpace: () => {
      events.space += 1;
      events.onSpace();
    },
    onOutputFailure: (error) => assert.fail(String(error)),
  });
  bank.connect(serial, interrupt);
  serial.resume();
  const serialIn = (offset: number) => bank.guestRead(offset);
  const serialOut = (offset: number, value: number) => {
    assert.equal(bank.guestWrite(offset, value), undefined, 'the guest does not wait');
  };
  return { bank, interrupt, output, serial, serialIn, serialOut, events };
}

type Port = ReturnType<typeof makeSerial>;

/** `size_fifo` */
function sizeFifo({ serialIn, serialOut }: Port): number {
  const lcr = serialIn(UART.LCR);
  serialOut(UART.LCR, 0);
  const fcr = serialIn(UART.FCR);
  const mcr = serialIn(UART.MCR);
  serialOut(UART.FCR, 0x07);
  serialOut(UART.MCR, 0x10);
  serialOut(UART.LCR, 0x80);
  const divisor = [serialIn(0), serialIn(1)];
  serialOut(0, 1);
  serialOut(1, 0);
  serialOut(UART.LCR, 0x03);
  for (let i = 0; i < 256; i++) serialOut(UART.TX, i);
  let count = 0;
  while (serialIn(UART.LSR) & LSR_DR && count < 256) {
    assert.equal(serialIn(UART.RX), count);
    count += 1;
  }
  serialOut(UART.FCR, fcr);
  serialOut(UART.MCR, mcr);
  serialOut(UART.LCR, 0x80);
  serialOut(0, divisor[0] ?? 0);
  serialOut(1, divisor[1] ?? 0);
  serialOut(UART.LCR, lcr);
  return count;
}

/** `autoconfig` up to the switch on IIR; returns IIR's FIFO bits. */
function autoconfig({ serialIn, serialOut }: Port): number {
  const ier = serialIn(UART.IER);
  serialOut(UART.IER, 0);
  assert.equal(serialIn(UART.IER) & 0x0f, 0);
  serialOut(UART.IER, 0x0f);
  assert.equal(serialIn(UART.IER) & 0x0f, 0x0f);
  serialOut(UART.IER, ier);
  const mcr = serialIn(UART.MCR);
  const lcr = serialIn(UART.LCR);
  serialOut(UART.MCR, 0x10 | 0x08 | 0x02);
  assert.equal(serialIn(UART.MSR) & 0xf0, 0x80 | 0x10, 'loopback: OUT2 -> DCD, RTS -> CTS');
  serialOut(UART.MCR, mcr);
  serialOut(UART.LCR, 0xbf);
  serialOut(UART.EFR, 0);
  serialOut(UART.LCR, 0);
  serialOut(UART.FCR, 0x01);
  const fifo = serialIn(UART.IIR) & 0xc0;
  serialOut(UART.LCR, lcr);
  return fifo;
}

/** `serial8250_clear_fifos` and the reads that follow it in `serial8250_do_startup` */
function startup({ serialIn, serialOut }: Port): void {
  serialOut(UART.FCR, 0x01);
  serialOut(UART.FCR, 0x07);
  serialOut(UART.FCR, 0x00);
  for (const register of [UART.LSR, UART.RX, UART.IIR, UART.MSR]) serialIn(register);
  assert.notEqual(serialIn(UART.LSR), 0xff);
  /* the THRE test */
  serialOut(UART.IER, 0x02);
  const first = serialIn(UART.IIR);
  serialOut(UART.IER, 0);
  serialOut(UART.IER, 0x02);
  const second = serialIn(UART.IIR);
  serialOut(UART.IER, 0);
  assert.equal(first & IIR_NO_INT, 0);
  assert.equal(second & IIR_NO_INT, 0, 'THRE is asserted again: no UART_BUG_THRE');
  serialOut(UART.LCR, 0x03);
  serialOut(UART.MCR, 0x08);
  /* the TXEN test */
  serialOut(UART.IER, 0x02);
  assert.equal(serialIn(UART.LSR), LSR_IDLE);
  assert.equal(serialIn(UART.IIR) & IIR_NO_INT, 0, 'no UART_BUG_TXEN');
  serialOut(UART.IER, 0);
  for (const register of [UART.LSR, UART.RX, UART.IIR, UART.MSR]) serialIn(register);
  /* serial8250_do_set_termios */
  serialOut(UART.FCR, 0x01);
  serialOut(UART.FCR, 0x81);
  serialOut(UART.MCR, 0x0b);
  serialOut(UART.IER, 0x05);
}

/** `serial8250_handle_irq` in the loop of `serial8250_interrupt`; returns what was received. */
function handleInterrupt({ serialIn, serialOut }: Port, transmit: number[] = []): string {
  let text = '';
  for (;;) {
    if (serialIn(UART.IIR) & IIR_NO_INT) return text;
    while (serialIn(UART.LSR) & LSR_DR) text += String.fromCharCode(serialIn(UART.RX));
    serialIn(UART.MSR);
    if (serialIn(UART.IER) & 0x02) {
      for (const byte of transmit.splice(0, 16)) serialOut(UART.TX, byte);
      if (transmit.length === 0) serialOut(UART.IER, serialIn(UART.IER) & ~0x02);
    }
  }
}

test('Linux autoconfig finds a 16550A', () => {
  const port = makeSerial();
  assert.equal(autoconfig(port), 0xc0);
});

test('autoconfig_16550a: no EFR, no NS16550A, no TI16750, no XScale, a FIFO of 16 bytes', () => {
  const port = makeSerial();
  const { serialIn, serialOut } = port;
  autoconfig(port);
  serialOut(UART.LCR, 0x80);
  assert.notEqual(serialIn(UART.EFR), 0, 'EFR with DLAB set');
  serialOut(UART.LCR, 0xbf);
  assert.notEqual(serialIn(UART.EFR), 0, 'EFR with LCR 0xbf');

  serialOut(UART.LCR, 0);
  const mcr = serialIn(UART.MCR);
  serialOut(UART.LCR, 0xe0);
  assert.equal((serialIn(2) ^ mcr) & 0x10, 0, 'EXCR1 follows MCR.LOOP ...');
  serialOut(UART.LCR, 0);
  serialOut(UART.MCR, mcr ^ 0x10);
  serialOut(UART.LCR, 0xe0);
  assert.equal((serialIn(2) ^ mcr) & 0x10, 0, '... but does not when it changes');
  serialOut(UART.LCR, 0);
  serialOut(UART.MCR, mcr);

  serialOut(UART.FCR, 0x21);
  assert.equal(serialIn(UART.IIR) & 0xe0, 0xc0, '64-byte mode without DLAB');
  serialOut(UART.FCR, 0x01);
  serialOut(UART.LCR, 0x80);
  serialOut(UART.FCR, 0x21);
  assert.equal(serialIn(UART.IIR) & 0xe0, 0xc0, '64-byte mode with DLAB');
  serialOut(UART.FCR, 0x01);
  serialOut(UART.LCR, 0);

  serialOut(UART.IER, 0x40);
  assert.equal(serialIn(UART.IER) & 0x40, 0, 'IER.UUE');
  serialOut(UART.IER, 0);
  assert.equal(sizeFifo(port), 16);
  assert.equal(port.output.text, '', 'loopback sends nothing');
});

test('without the FIFO the chip is a 16450: IIR shows it, and loopback holds one byte', () => {
  const port = makeSerial();
  const { serialIn, serialOut } = port;
  assert.equal(serialIn(UART.IIR), IIR_NO_INT);
  serialOut(UART.MCR, 0x10);
  serialOut(UART.TX, 0x41);
  serialOut(UART.TX, 0x42);
  assert.equal(serialIn(UART.RX), 0x42);
  assert.equal(serialIn(UART.LSR), LSR_IDLE);
});

test('the scratch register and the divisor latch keep what is written', () => {
  const { serialIn, serialOut } = makeSerial();
  for (const value of [0xa5, 0x5a]) {
    serialOut(UART.SCR, value);
    assert.equal(serialIn(UART.SCR), value);
  }
  serialOut(UART.IER, 0x05);
  serialOut(UART.LCR, 0x83);
  serialOut(0, 0x0c);
  serialOut(1, 0x34);
  assert.deepEqual([serialIn(0), serialIn(1)], [0x0c, 0x34]);
  serialOut(UART.LCR, 0x03);
  assert.deepEqual([serialIn(0), serialIn(1)], [0, 0x05], 'RBR and IER again');
});

test('startup passes the THRE and TXEN tests', () => {
  startup(makeSerial());
});

test('console output never wakes JavaScript but for the ring', () => {
  const port = makeSerial(4096);
  const { bank, serialIn, serialOut, serial, output } = port;
  autoconfig(port);
  startup(port);
  serialOut(UART.IER, 0x08);
  bank.slowAccesses = 0;
  serialOut(UART.IER, 0);
  for (const char of 'hello\r\n') {
    while ((serialIn(UART.LSR) & LSR_IDLE) !== LSR_IDLE);
    serialOut(UART.TX, char.charCodeAt(0));
  }
  serialOut(UART.IER, 0x08);
  assert.equal(bank.slowAccesses, 0);
  serial.poll();
  assert.equal(serialIn(UART.IER), 0x08);
  serialOut(UART.MCR, 0x03);
  assert.equal(serialIn(UART.IER), 0x08, 'after the registers were taken back too');
  assert.equal(output.text, 'hello\r\n');
});

test('interrupt-driven output: an edge for each THRE, all bytes in order', () => {
  const port = makeSerial(4096);
  const { bank, interrupt, serialIn, serialOut, serial, output } = port;
  autoconfig(port);
  startup(port);
  interrupt.take();
  const text = 'The quick brown fox jumps over the lazy dog.'.repeat(4);
  serialOut(UART.IER, 0x07);
  assert.equal(interrupt.take(), 1, 'enabling THRI with an empty transmitter is an edge');
  bank.slowAccesses = 0;
  assert.equal(handleInterrupt(port, [...Buffer.from(text)]), '');
  assert.equal(bank.slowAccesses, 1, 'only the write to IER that ends it');
  assert.equal(serialIn(UART.IIR) & IIR_NO_INT, IIR_NO_INT);
  serial.poll();
  assert.equal(output.text, text);
});

test('a byte written with THRI enabled raises THRE again after IIR was read', () => {
  const { interrupt, serialIn, serialOut } = makeSerial();
  serialOut(UART.IER, 0x02);
  assert.equal(serialIn(UART.IIR), 0x02);
  assert.equal(serialIn(UART.IIR), 0x01, 'reading IIR takes the interrupt');
  interrupt.take();
  serialOut(UART.TX, 0x41);
  assert.equal(interrupt.take(), 1);
  assert.equal(serialIn(UART.IIR), 0x02);
});

test('input: an edge, a timeout below the trigger level, data at it', () => {
  const port = makeSerial();
  const { interrupt, serial, serialIn } = port;
  autoconfig(port);
  startup(port);
  interrupt.take();
  assert.equal(serial.receive(Buffer.from('ls\r')), true);
  assert.equal(interrupt.take(), 1);
  assert.equal(serialIn(UART.LSR), LSR_IDLE | LSR_DR);
  assert.equal(serialIn(UART.IIR), 0xcc, 'character timeout: 3 bytes of 8');
  assert.equal(serial.receive(Buffer.from('12345')), true);
  assert.equal(serialIn(UART.IIR), 0xc4, 'FCR 0x81: trigger level 8');
  assert.equal(handleInterrupt(port), 'ls\r12345');
  assert.equal(serialIn(UART.IIR), 0xc1);
  assert.equal(serialIn(UART.LSR), LSR_IDLE);
});

test('a driver that takes one byte an interrupt gets an edge for each', () => {
  const { interrupt, serial, serialIn, serialOut } = makeSerial();
  serialOut(UART.IER, 0x01);
  serial.receive(Buffer.from('abc'));
  let text = '';
  while (interrupt.take() > 0) {
    if (serialIn(UART.IIR) & IIR_NO_INT) continue;
    text += String.fromCharCode(serialIn(UART.RX));
  }
  assert.equal(text, 'abc');
});

test('no edge is lost: THRE under a receive interrupt comes up when the data is gone', () => {
  const { interrupt, serial, serialIn, serialOut } = makeSerial();
  serialOut(UART.IER, 0x03);
  serial.receive(Buffer.from('a'));
  interrupt.take();
  assert.equal(serialIn(UART.IIR), 0x04, 'receive has priority');
  assert.equal(serialIn(UART.IIR), 0x04, 'and reading IIR does not take it');
  serialIn(UART.RX);
  assert.equal(interrupt.take(), 1);
  assert.equal(serialIn(UART.IIR), 0x02);
});

test('no edge is lost: bytes that arrive while the driver leaves its handler', () => {
  const port = makeSerial();
  const { interrupt, serial, serialIn } = port;
  startup(port);
  serial.receive(Buffer.from('a'));
  assert.equal(handleInterrupt(port), 'a');
  interrupt.take();
  serial.receive(Buffer.from('b'));
  assert.equal(interrupt.take(), 1);
  assert.equal(serialIn(UART.IIR) & IIR_NO_INT, 0);
});

test('a receive interrupt that is enabled late finds the data that is there', () => {
  const { interrupt, serial, serialIn, serialOut } = makeSerial();
  serial.receive(Buffer.from('a'));
  assert.equal(interrupt.take(), 0);
  serialOut(UART.IER, 0x01);
  assert.equal(interrupt.take(), 1);
  assert.equal(serialIn(UART.IIR), 0x04);
});

test('input floods: no more is asked for before all is in the FIFO', () => {
  const port = makeSerial();
  const { serial, events } = port;
  startup(port);
  const input = '0123456789'.repeat(20);
  assert.equal(serial.receive(Buffer.from('x'.repeat(16))), true, 'it has room for 16 bytes');
  assert.equal(serial.receive(Buffer.from(input)), false);
  let rounds = 0;
  events.onSpace = () => {
    rounds += 1;
    if (rounds < 3) assert.equal(serial.receive(Buffer.from(input)), false);
  };
  assert.equal(handleInterrupt(port), 'x'.repeat(16) + input.repeat(3));
  assert.equal(events.space, 3);
  serial.receive(Buffer.from('x'));
  handleInterrupt(port);
  assert.equal(events.space, 3, 'no call when everything was taken');
});

test('input typed before the driver listens survives autoconfig and startup', () => {
  const port = makeSerial();
  const { serial, serialIn, interrupt } = port;
  assert.equal(serial.receive(Buffer.from('uname -a\npoweroff\n')), false);
  assert.equal(serialIn(UART.LSR), LSR_IDLE);
  autoconfig(port);
  assert.equal(sizeFifo(port), 16, 'loopback does not see it');
  interrupt.take();
  startup(port);
  assert.ok(interrupt.take() > 0);
  assert.equal(handleInterrupt(port), 'uname -a\npoweroff\n');
});

test('a driver that only polls gets its input, also after it cleared the FIFO', () => {
  const port = makeSerial();
  const { serial, serialIn, serialOut } = port;
  serialOut(UART.FCR, 0x07);
  serial.receive(Buffer.from('ok'));
  const poll = () => {
    for (let i = 0; i < 1000; i++) {
      if (serialIn(UART.LSR) & LSR_DR) return String.fromCharCode(serialIn(UART.RX));
    }
    return assert.fail('no input');
  };
  assert.equal(poll() + poll(), 'ok');
});

test('waiting for the transmitter between bytes of output is not polling for input', () => {
  const { bank, serial, serialIn, serialOut } = makeSerial(1024);
  serial.receive(Buffer.from('x'));
  for (let i = 0; i < 500; i++) {
    assert.equal(serialIn(UART.LSR), LSR_IDLE);
    serialOut(UART.TX, 0x2e);
  }
  assert.ok(bank.slowAccesses <= 500 / 32, `${bank.slowAccesses} slow accesses`);
});

test('output that follows other output within 2 ms is passed on together', (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const { output, serial, serialOut } = makeSerial(1024);
  const print = (text: string) => {
    for (const byte of Buffer.from(text)) {
      serialOut(UART.TX, byte);
      serial.poll();
    }
  };
  print('hello');
  assert.equal(output.text, 'h', 'the first byte at once');
  context.mock.timers.tick(2);
  assert.equal(output.text, 'hello');
  print(', world');
  assert.equal(output.text, 'hello');
  context.mock.timers.tick(2);
  assert.equal(output.text, 'hello, world');
  context.mock.timers.tick(2);
  print('!?');
  assert.equal(output.text, 'hello, world!', 'the first byte after a pause at once');
});

test('floods are bounded in memory: the guest waits while the sink is full', async () => {
  const { bank, output, serial, interrupt } = makeSerial(64);
  bank.guestWrite(UART.IER, 0x02);
  output.slow = true;
  bank.guestWrite(UART.TX, 0x21);
  serial.poll();
  assert.equal(output.text, '!');
  let expected = '!';
  let waits: Promise<void> | undefined;
  for (let i = 0; waits === undefined; i++) {
    assert.ok(i <= 64, 'the ring is full at last');
    waits = bank.guestWrite(UART.TX, 0x30 + (i % 10)) ?? undefined;
    expected += i % 10;
  }
  serial.poll();
  assert.equal(bank.drainRing().length, 64, 'the ring waits too');
  for (const char of expected.slice(1, 65)) bank.guestWrite(UART.TX, char.charCodeAt(0));
  let done = false;
  waits.then(() => {
    done = true;
  });
  await new Promise(setImmediate);
  assert.equal(done, false);

  interrupt.take();
  output.release();
  await new Promise(setImmediate);
  assert.equal(done, false, 'full again: the sink took the ring and no more');
  assert.equal(output.text, expected.slice(0, -1));
  output.release();
  await waits;
  assert.equal(output.text, expected, 'nothing is lost and the order is kept');
  assert.equal(interrupt.take(), 1, 'the byte that waited raises THRE');
});

test('the order is kept when the ring is larger than what is taken of it at once', () => {
  const { bank, output, serial } = makeSerial(256);
  let expected = '';
  for (let i = 0; i < 300; i++) {
    const char = String.fromCharCode(0x30 + (i % 10));
    bank.guestWrite(UART.TX, char.charCodeAt(0));
    expected += char;
  }
  serial.poll();
  assert.equal(output.text, expected);
});

test('a driver that takes RTS back gets no input until it gives it again', () => {
  const port = makeSerial();
  const { interrupt, serial, serialIn, serialOut } = port;
  autoconfig(port);
  startup(port);
  serialOut(UART.MCR, 0x0b);
  interrupt.take();
  serialOut(UART.MCR, 0x09);
  serial.receive(Buffer.from('later'));
  assert.equal(interrupt.take(), 0);
  assert.equal(serialIn(UART.LSR), LSR_IDLE);
  serialOut(UART.MCR, 0x0b);
  assert.equal(interrupt.take(), 1);
  assert.equal(handleInterrupt(port), 'later');
});

test('close passes the rest of the output to a full sink, and waits for nobody', async () => {
  const { bank, output, serial } = makeSerial(64);
  output.slow = true;
  bank.guestWrite(UART.TX, 0x61);
  serial.poll();
  bank.guestWrite(UART.TX, 0x62);
  assert.equal(output.text, 'a');
  output.closing = true;
  await serial.close();
  assert.equal(output.text, 'ab');
});

test('the ring is emptied before a byte that found it full', () => {
  const { serialOut, serial, output } = makeSerial(4);
  for (const char of '0123456789') serialOut(UART.TX, char.charCodeAt(0));
  serial.poll();
  assert.equal(output.text, '0123456789');
});

test('modem status: carrier, data set and clear to send are there; deltas are read once', () => {
  const { interrupt, serialIn, serialOut } = makeSerial();
  assert.equal(serialIn(UART.MSR), 0xb0);
  serialOut(UART.IER, 0x08);
  assert.equal(interrupt.take(), 0);
  serialOut(UART.MCR, 0x10 | 0x04);
  assert.equal(interrupt.take(), 1);
  assert.equal(serialIn(UART.IIR), 0x00, 'modem status interrupt');
  assert.equal(serialIn(UART.MSR), 0x40 | 0x08 | 0x02 | 0x01, 'ring rises: no TERI yet');
  assert.equal(serialIn(UART.IIR), 0x01);
  serialOut(UART.MCR, 0x10);
  assert.equal(serialIn(UART.MSR), 0x04, 'the trailing edge of ring');
  serialOut(UART.MCR, 0);
  assert.equal(serialIn(UART.MSR), 0xbb);
  assert.equal(serialIn(UART.MSR), 0xb0);
});

test('a modem interrupt is raised again when the one that hid it is taken', () => {
  const { interrupt, serialIn, serialOut } = makeSerial();
  serialOut(UART.IER, 0x0a);
  serialOut(UART.MCR, 0x10);
  interrupt.take();
  assert.equal(serialIn(UART.IIR), 0x02);
  assert.equal(interrupt.take(), 1);
  assert.equal(serialIn(UART.IIR), 0x00);
});

test('accesses of every width and offset neither throw nor lose bytes', () => {
  const { bank, serial, output } = makeSerial(64);
  for (const width of [1, 2, 4]) {
    for (let offset = 0; offset < 12; offset++) {
      const value = serial.read(offset, width);
      assert.ok(value >= 0 && value < 2 ** (8 * width), `${value} at ${offset}/${width}`);
      serial.write(offset, width, 0xffffffff);
    }
  }
  assert.equal(serial.read(8, 1), 0xff);
  serial.write(3, 1, 0);
  serial.write(4, 1, 0);
  serial.poll();
  output.text = '';
  bank.guestWrite(6, 0x4142, 2);
  assert.equal(bank.guestRead(7), 0x41, 'a wide access is one access a byte: the second is SCR');
  bank.guestWrite(0, 0x0041, 2);
  assert.equal(output.text, 'A');
});
