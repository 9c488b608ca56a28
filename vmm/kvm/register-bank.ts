import type { NativeRegisterBank } from '../../kvm-addon/index.d.ts';
import type {
  BankSpec,
  FastRead,
  FastRegister,
  FastWrite,
  RegisterBank,
  Stamp,
  WordUpdate,
} from '../bus/register-bank.ts';
import { loadAddon } from '../host/addon.ts';

/** Size of `struct tsvm_register` in kvm-addon/include/tsvm/register_bank_abi.h. */
const RECORD_BYTES = 20;
const READ_SCRIPT = 0;
const READ_WORD = 1;
const READ_COUNTED = 2;
const WRITE_SCRIPT = 0;
const WRITE_KINDS: Readonly<Record<FastWrite['kind'], number>> = {
  ignore: 1,
  word: 2,
  'clear-bits': 3,
  ring: 4,
  stamp: 5,
  bits: 6,
};
const NO_WORD = 0xff;

/** Encodes registers as an array of `struct tsvm_register`. */
export function encodeRegisters(registers: readonly FastRegister[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(registers.length * RECORD_BYTES));
  registers.forEach((register, index) => {
    const at = index * RECORD_BYTES;
    const { read, write } = register;
    view.setUint16(at, register.offset, true);
    view.setUint8(at + 2, register.width);
    view.setUint8(at + 3, readKind(read));
    view.setUint8(at + 4, write === undefined ? WRITE_SCRIPT : WRITE_KINDS[write.kind]);
    view.setUint8(at + 5, read?.word ?? 0);
    view.setUint8(at + 6, write !== undefined && 'word' in write ? write.word : 0);
    view.setUint8(at + 10, write?.kind === 'bits' ? write.mask : 0);
    const afterWrite = write?.kind === 'ring' ? write.after : undefined;
    const { counted } = read ?? {};
    const afterRead = counted && { word: counted.word, value: counted.limit };
    setUpdate(view, at + 7, at + 12, afterRead ?? read?.after);
    setUpdate(view, at + 8, at + 16, afterWrite);
    view.setUint8(at + 9, write?.kind === 'ring' && write.raise === true ? 1 : 0);
  });
  return new Uint8Array(view.buffer);
}

function readKind(read: FastRead | undefined): number {
  if (read === undefined) return READ_SCRIPT;
  return read.counted === undefined ? READ_WORD : READ_COUNTED;
}

function setUpdate(view: DataView, wordAt: number, valueAt: number, update?: WordUpdate): void {
  view.setUint8(wordAt, update?.word ?? NO_WORD);
  view.setUint32(valueAt, update?.value ?? 0, true);
}

/** A register bank whose fast registers the vCPU threads handle. */
export class KvmRegisterBank implements RegisterBank {
  readonly native: NativeRegisterBank;
  readonly lengthBytes: number;
  readonly words: Uint32Array;

  constructor({ lengthBytes, wordCount, ringBytes = 0 }: BankSpec) {
    const { NativeRegisterBank } = loadAddon();
    this.native = new NativeRegisterBank(lengthBytes, wordCount, ringBytes);
    this.lengthBytes = lengthBytes;
    this.words = this.native.words;
  }

  setFastRegisters(registers: readonly FastRegister[]): void {
    this.native.setRegisters(encodeRegisters(registers));
  }

  drainRing(): Uint8Array {
    return this.native.drainRing();
  }

  takeStamps(): Stamp[] {
    const pairs = this.native.drainStamps();
    const stamps: Stamp[] = [];
    for (let i = 0; i + 1 < pairs.length; i += 2) {
      stamps.push({ value: pairs[i] ?? 0, timeMs: (pairs[i + 1] ?? 0) / 1e6 });
    }
    return stamps;
  }
}
