import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CMOS_BANK, CmosRtc } from '../../../../vmm/devices/legacy/cmos-rtc.ts';
import { FakeRegisterBank } from '../../../support/fake-register-bank.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

function makeRtc(time = '2024-02-29T23:59:58Z', lowMemoryEnd = 128 * MIB, highMemoryBytes = 0) {
  const clock = { ms: Date.parse(time) };
  const bank = new FakeRegisterBank(CMOS_BANK);
  const rtc = new CmosRtc({ bank, now: () => clock.ms, lowMemoryEnd, highMemoryBytes });
  bank.connect(rtc);
  /* CMOS_READ and CMOS_WRITE of Linux's arch/x86/kernel/rtc.c */
  const read = (register: number) => {
    bank.guestWrite(0, register);
    return bank.guestRead(1);
  };
  const write = (register: number, value: number) => {
    bank.guestWrite(0, register);
    bank.guestWrite(1, value);
  };
  return { bank, rtc, clock, read, write };
}

type Rtc = ReturnType<typeof makeRtc>;

const bcd2bin = (value: number) => (value >> 4) * 10 + (value & 0x0f);
const bin2bcd = (value: number) => (Math.floor(value / 10) << 4) + (value % 10);

/** Linux's `mc146818_get_time`; the FADT names 0x32 as the century. */
function getTime({ read }: Rtc): string {
  const seconds = read(0);
  assert.equal(read(0x0a) & 0x80, 0, 'no update in progress');
  const registers = [seconds, read(2), read(4), read(7), read(8), read(9), read(0x32)];
  assert.equal(read(0), seconds);
  const binary = read(0x0b) & 0x04;
  const [s, m, h, day, month, year, century] = binary ? registers : registers.map(bcd2bin);
  const two = (value = 0) => String(value).padStart(2, '0');
  return `${two(century)}${two(year)}-${two(month)}-${two(day)}T${two(h)}:${two(m)}:${two(s)}`;
}

/** Linux's `mc146818_set_time`. */
function setTime({ read, write }: Rtc, time: string): void {
  const date = new Date(`${time}Z`);
  const code = read(0x0b) & 0x04 ? (value: number) => value : bin2bcd;
  const control = read(0x0b);
  write(0x0b, control | 0x80);
  const frequency = read(0x0a);
  write(0x0a, frequency & ~0x10);
  write(9, code(date.getUTCFullYear() % 100));
  write(8, code(date.getUTCMonth() + 1));
  write(7, code(date.getUTCDate()));
  write(4, code(date.getUTCHours()));
  write(2, code(date.getUTCMinutes()));
  write(0, code(date.getUTCSeconds()));
  write(0x32, code(Math.floor(date.getUTCFullYear() / 100)));
  write(0x0b, control);
  write(0x0a, frequency);
}

test('the host clock is read in BCD, 24 hours, and keeps running', () => {
  const rtc = makeRtc();
  assert.equal(getTime(rtc), '2024-02-29T23:59:58');
  assert.equal(rtc.read(6), 5, 'a Thursday: Sunday is 1');
  rtc.clock.ms += 3000;
  assert.equal(getTime(rtc), '2024-03-01T00:00:01');
});

test('binary mode and 12-hour mode follow register B', () => {
  const rtc = makeRtc('1999-12-31T12:05:09Z');
  rtc.write(0x0b, 0x06);
  assert.equal(getTime(rtc), '1999-12-31T12:05:09');
  rtc.write(0x0b, 0x00);
  assert.equal(rtc.read(4), 0x92, 'noon is 12 PM');
  rtc.clock.ms += 12 * 3600_000;
  assert.equal(rtc.read(4), 0x12, 'midnight is 12 AM');
  rtc.clock.ms += 11 * 3600_000;
  assert.equal(rtc.read(4), 0x11);
});

test('a clock that the guest sets keeps its distance from the host', () => {
  const rtc = makeRtc();
  for (const [control, time] of [
    [0x02, '2038-01-19T03:14:07'],
    [0x06, '1985-10-26T01:21:00'],
  ] as const) {
    rtc.write(0x0b, control);
    setTime(rtc, time);
    assert.equal(getTime(rtc), time);
    rtc.clock.ms += 1000;
    assert.equal(getTime(rtc).slice(0, -1), time.slice(0, -1));
    assert.notEqual(getTime(rtc), time);
  }
});

test('the time stands still while SET is 1', () => {
  const rtc = makeRtc();
  rtc.write(0x0b, 0x82);
  rtc.clock.ms += 5000;
  assert.equal(rtc.read(0), 0x58);
  rtc.write(0x0b, 0x02);
  assert.equal(rtc.read(0), 0x58, 'and goes on from there');
  rtc.clock.ms += 1000;
  assert.equal(rtc.read(0), 0x59);
});

test('12-hour times are set as they are read', () => {
  const rtc = makeRtc();
  rtc.write(0x0b, 0x00);
  for (const hours of [0x12, 0x92, 0x01, 0x91]) {
    rtc.write(4, hours);
    assert.equal(rtc.read(4), hours);
  }
});

test('the status registers: divider running, no interrupt flags, battery good', () => {
  const { read, write } = makeRtc();
  assert.equal(read(0x0a), 0x26);
  write(0x0a, 0xff);
  assert.equal(read(0x0a), 0x7f, 'UIP is read-only');
  assert.equal(read(0x0c), 0);
  write(0x0d, 0);
  assert.equal(read(0x0d), 0x80);
});

test('the NMI mask is not part of the index, and RAM keeps written values', () => {
  const { bank, read, write } = makeRtc();
  write(0x0f, 0x0a);
  assert.equal(read(0x8f), 0x0a);
  bank.guestWrite(0, 0x5540, 2);
  assert.equal(read(0x40), 0x55, 'index and data in one access');
});

test('memory sizes are where firmware leaves them', () => {
  const word = ({ read }: Rtc, register: number) => read(register) | (read(register + 1) << 8);
  const small = makeRtc(undefined, 16 * MIB);
  assert.equal(word(small, 0x15), 640);
  assert.equal(word(small, 0x17), 15 * 1024);
  assert.equal(word(small, 0x34), 0);
  const large = makeRtc(undefined, 3 * GIB, 5 * GIB);
  assert.equal(word(large, 0x30), 0xffff);
  assert.equal(word(large, 0x34), (3 * 1024 - 16) * 16);
  assert.equal(word(large, 0x5b) | (large.read(0x5d) << 16), 5 * 1024 * 16);
});

test('garbage in any register, at any offset and width, gives some time', () => {
  const { rtc, read, write } = makeRtc();
  for (let register = 0; register < 256; register++) write(register, 0xff);
  write(0x0b, 0x00);
  for (let register = 0; register < 256; register++) {
    const value = read(register);
    assert.ok(Number.isInteger(value) && value >= 0 && value <= 0xff, `${register}: ${value}`);
  }
  for (const width of [1, 2, 4]) {
    for (let offset = 0; offset < 6; offset++) {
      const value = rtc.read(offset, width);
      assert.ok(value >= 0 && value < 2 ** (8 * width));
      rtc.write(offset, width, 0xffffffff);
    }
  }
});
