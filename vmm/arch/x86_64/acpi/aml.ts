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
const MULTI_NAME_PREFIX = 0x2f;
const LOCAL0_OP = 0x60;
const STORE_OP = 0x70;
const AND_OP = 0x7b;
const IF_OP = 0xa0;
const SCOPE_OP = 0x10;
const BUFFER_OP = 0x11;
const METHOD_OP = 0x14;
const PACKAGE_OP = 0x12;
const EXT_OP_PREFIX = 0x5b;
const REGION_OP = 0x80;
const FIELD_OP = 0x81;
const DEVICE_OP = 0x82;
const NOTIFY_OP = 0x86;

/** Address space of an operation region (section 19.6.100). */
const SYSTEM_IO = 1;
/** Field flags (section 20.2.5.2): 32-bit accesses; what is not written of a unit is written as zeros. */
const DWORD_ACCESS = 3;
const WRITE_AS_ZEROS = 2 << 5;

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

/**
 * 32-bit registers at I/O ports: `OperationRegion (region, SystemIO, port, ...)`, and a `Field` of it
 * with these names, four characters each, of consecutive registers.
 */
export function portRegisters(region: string, port: number, names: readonly string[]): Bytes {
  const bytes = 4 * names.length;
  const widthBits = 32;
  const fields = names.map((field) => Buffer.concat([nameString(field), Buffer.of(widthBits)]));
  return Buffer.concat([
    Uint8Array.of(EXT_OP_PREFIX, REGION_OP),
    ...[nameString(region), Uint8Array.of(SYSTEM_IO), integer(port), integer(bytes)],
    Uint8Array.of(EXT_OP_PREFIX, FIELD_OP),
    sized(nameString(region), Uint8Array.of(DWORD_ACCESS | WRITE_AS_ZEROS), ...fields),
  ]);
}

/** A local variable of a method, 0 to 7. */
export function local(index: number): Bytes {
  return Uint8Array.of(LOCAL0_OP + index);
}

/** The value of a named object. */
export function namedValue(path: string): Bytes {
  return nameString(path);
}

/** `Store (source, target)`. */
export function store(source: Bytes, target: Bytes): Bytes {
  return Buffer.concat([Uint8Array.of(STORE_OP), source, target]);
}

/** `If (value & mask) { terms }`. */
export function ifBits(value: Bytes, mask: number, ...terms: Bytes[]): Bytes {
  const nowhere = Uint8Array.of(0);
  const and = Buffer.concat([Uint8Array.of(AND_OP), value, integer(mask), nowhere]);
  return Buffer.concat([Uint8Array.of(IF_OP), sized(and, ...terms)]);
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

/** Name segments, with dots between them, padded with `_`; a leading backslash makes them absolute. */
function nameString(path: string): Bytes {
  const root = path.startsWith('\\') ? '\\' : '';
  const segments = path.slice(root.length).split('.');
  const count = segments.length === 1 ? [] : [MULTI_NAME_PREFIX, segments.length];
  const names = segments.map((segment) => segment.padEnd(4, '_')).join('');
  return Buffer.concat([
    Buffer.from(root, 'ascii'),
    Buffer.from(count),
    Buffer.from(names, 'ascii'),
  ]);
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
