const KERNEL_GPA = 0x1000000n;
const EHDR_SIZE = 64;
const PHDR_SIZE = 56;

/** Prints a line and powers off. */
const KERNEL_CODE = [
  ...[0x66, 0xba, 0xf8, 0x03], // mov $0x3f8, %dx    COM1
  ...[0xb0, 0x0a], //             mov $'\n', %al
  ...[0xee], //                   out %al, (%dx)
  ...[0x66, 0xba, 0x00, 0x06], // mov $0x600, %dx    ACPI's sleep control
  ...[0xb0, 0x34], //             mov $0x34, %al     SLP_EN, SLP_TYP of S5
  ...[0xee], //                   out %al, (%dx)
  ...[0xeb, 0xfe], //             jmp .
];

/** A kernel that prints a line and powers off: an ELF64 file with one segment. */
export function kernelImage(): Uint8Array {
  const codeOffset = EHDR_SIZE + PHDR_SIZE;
  const image = new Uint8Array(codeOffset + KERNEL_CODE.length);
  const ehdr = new DataView(image.buffer);
  image.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  ehdr.setUint16(16, 2, true); // e_type: ET_EXEC
  ehdr.setUint16(18, 62, true); // e_machine: EM_X86_64
  ehdr.setBigUint64(24, KERNEL_GPA + BigInt(codeOffset), true); // e_entry
  ehdr.setBigUint64(32, BigInt(EHDR_SIZE), true); // e_phoff
  ehdr.setUint16(54, PHDR_SIZE, true); // e_phentsize
  ehdr.setUint16(56, 1, true); // e_phnum
  const phdr = new DataView(image.buffer, EHDR_SIZE);
  phdr.setUint32(0, 1, true); // p_type: PT_LOAD
  phdr.setBigUint64(24, KERNEL_GPA, true); // p_paddr
  phdr.setBigUint64(32, BigInt(image.length), true); // p_filesz
  phdr.setBigUint64(40, BigInt(image.length), true); // p_memsz
  image.set(KERNEL_CODE, codeOffset);
  return image;
}
