/**
 * The subset of ACPI Machine Language that our DSDT needs: ACPI 6.5, section 20.2 for
 * the encoding, 6.4 for resource descriptors. Every function encodes one term.
 */
type Bytes = Uint8Array;

const ZERO_OP = 0x00;
const ONE_OP = 0x01;
const NAME_OP = 0x08;
const BYTE_PREFIX = 0x0a;
const WORD_PREFIX = 0x0b;
const DWORD_PREFIX = 0x0c;
const STRING_PREFIX = 0x0d;
const SCOPE_OP = 0x10;
const BUFFER_OP = 0x11;
const METHOD_OP = 0x14;
const PACKAGE_OP = 0x12;
const EXT_OP_PREFIX = 0x5b;
const DEVICE_OP = 0x82;
const NOTIFY_OP = 0x86;

/** Both ends of an address range are fixed. */
const RANGE_FIXED = 0x0c;

/** An unsigned 32-bit integer in its shortest encoding. */
export function integer(value: number): Bytes {
  if (value === 0) return Uint8Array.of(ZERO_OP);
  if (value === 1) return Uint8Array.of(ONE_OP);
  if (value <= 0xff) return Uint8Array.of(BYTE_PREFIX, value);
  if (value <= 0xffff) return Uint8Array.of(WORD_PREFIX, value & 0xff, value >> 8);
  return Uint8Array.of(DWORD_PREFIX, ...dword(value));
}

/** An ASCII string. */
export function string(text: string): Bytes {
  return Buffer.concat([Uint8Array.of(STRING_PREFIX), Buffer.from(text, 'ascii'), Buffer.alloc(1)]);
}

/** A compressed EISA id, e.g. `PNP0501` (section 19.3.4, EISAID). */
export function eisaId(id: string): Bytes {
  const [a = 0, b = 0, c = 0] = Buffer.from(id.slice(0, 3), 'ascii').map((code) => code - 0x40);
  const product = Number.parseInt(id.slice(3), 16);
  const vendor = (a << 10) | (b << 5) | c;
  return Uint8Array.of(DWORD_PREFIX, vendor >> 8, vendor & 0xff, product >> 8, product & 0xff);
}

/** `Name (path, value)`. */
export function name(path: string, value: Bytes): Bytes {
  return Buffer.concat([Uint8Array.of(NAME_OP), nameString(path), value]);
}

/** `Package () { elements }`, with at most 255 elements. */
export function packageOf(...elements: Bytes[]): Bytes {
  return Buffer.concat([
    Uint8Array.of(PACKAGE_OP),
    sized(Uint8Array.of(elements.length), ...elements),
  ]);
}

/** `Scope (path) { terms }`. */
export function scope(path: string, ...terms: Bytes[]): Bytes {
  return Buffer.concat([Uint8Array.of(SCOPE_OP), sized(nameString(path), ...terms)]);
}

/** `Device (path) { terms }`. */
export function device(path: string, ...terms: Bytes[]): Bytes {
  return Buffer.concat([
    Uint8Array.of(EXT_OP_PREFIX, DEVICE_OP),
    sized(nameString(path), ...terms),
  ]);
}

/** `Method (path, argumentCount, Serialized) { terms }`. */
export function serializedMethod(path: string, argumentCount: number, ...terms: Bytes[]): Bytes {
  const serialized = 1 << 3;
  const flags = Uint8Array.of(serialized | argumentCount);
  return Buffer.concat([Uint8Array.of(METHOD_OP), sized(nameString(path), flags, ...terms)]);
}

/** `Notify (object, value)`: tells the operating system of an event of a device. */
export function notify(path: string, value: number): Bytes {
  return Buffer.concat([Uint8Array.of(NOTIFY_OP), nameString(path), integer(value)]);
}

/** `ResourceTemplate () { descriptors }`. The end tag's checksum 0 means "treat as valid". */
export function resourceTemplate(...descriptors: Bytes[]): Bytes {
  const content = Buffer.concat([...descriptors, Uint8Array.of(0x79, 0)]);
  return Buffer.concat([Uint8Array.of(BUFFER_OP), sized(integer(content.length), content)]);
}

/** `IO (Decode16, base, base, 1, length)`: an I/O port descriptor, section 6.4.2.5. */
export function ioPorts(base: number, lengthBytes: number): Bytes {
  const [low, high] = [base & 0xff, base >> 8];
  return Uint8Array.of(0x47, 1, low, high, low, high, 1, lengthBytes);
}

/** `Memory32Fixed (ReadWrite, base, length)`, section 6.4.3.4. */
export function memory32Fixed(gpa: number, sizeBytes: number): Bytes {
  return Uint8Array.of(0x86, 9, 0, 1, ...dword(gpa), ...dword(sizeBytes));
}

/** Numbers of buses below a root: `WordBusNumber (ResourceProducer, ...)`, section 6.4.3.5.3. */
export function busNumbers(first: number, count: number): Bytes {
  const last = first + count - 1;
  const words = [0, first, last, 0, count].flatMap((word) => [word & 0xff, word >> 8]);
  return Uint8Array.of(0x88, 13, 0, 2, RANGE_FIXED, 0, ...words);
}

/** A window for devices below a bus: `DWordMemory (ResourceProducer, ...)`, section 6.4.3.5.2. */
export function memoryWindow(gpa: number, sizeBytes: number): Bytes {
  const readWrite = 1;
  const words = [0, gpa, gpa + sizeBytes - 1, 0, sizeBytes].flatMap(dword);
  return Uint8Array.of(0x87, 23, 0, 0, RANGE_FIXED, readWrite, ...words);
}

/** `Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { gsi }`, section 6.4.3.6. */
export function edgeInterrupt(gsi: number): Bytes {
  const consumer = 1 << 0;
  const edge = 1 << 1;
  return Uint8Array.of(0x89, 6, 0, consumer | edge, 1, ...dword(gsi));
}

/** A name segment padded with `_`; a leading backslash makes it absolute. */
function nameString(path: string): Bytes {
  const root = path.startsWith('\\') ? '\\' : '';
  return Buffer.from(root + path.slice(root.length).padEnd(4, '_'), 'ascii');
}

/** The terms preceded by their PkgLength, which includes its own size (section 20.2.4). */
function sized(...terms: Bytes[]): Bytes {
  const content = Buffer.concat(terms);
  const short = content.length + 1;
  if (short <= 0x3f) return Buffer.concat([Uint8Array.of(short), content]);
  const [width = 4] = [2, 3, 4].filter((each) => content.length + each < 2 ** (8 * each - 4));
  const length = content.length + width;
  const lead = ((width - 1) << 6) | (length & 0x0f);
  const rest = dword(length >> 4).slice(0, width - 1);
  return Buffer.concat([Uint8Array.of(lead, ...rest), content]);
}

function dword(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}
