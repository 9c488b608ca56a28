/** Initial RAM disks of programs that are compiled for the purpose. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** A member of a cpio archive: Linux's Documentation/driver-api/early-userspace/buffer-format.rst. */
function cpioMember(name: string, mode: number, content: Uint8Array): Uint8Array {
  const numbers = [0, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length + 1, 0];
  const fields = numbers.map((number) => number.toString(16).padStart(8, '0'));
  const padded = (bytes: Uint8Array) => [bytes, new Uint8Array(-bytes.length & 3)];
  const header = Buffer.from(`070701${fields.join('')}${name}\0`, 'latin1');
  return Buffer.concat([...padded(header), ...padded(content)]);
}

/** An archive whose `/init` is this program. The kernel itself makes `/dev/console`. */
export function initrdOf(program: string): Uint8Array {
  return Buffer.concat([
    cpioMember('init', 0o100755, readFileSync(program)),
    cpioMember('TRAILER!!!', 0, new Uint8Array(0)),
  ]);
}

/** Compiles a static program for guests; `sources` are C files. */
export function compileGuestProgram(target: string, sources: readonly string[]): void {
  const flags = ['-std=gnu11', '-O1', '-fomit-frame-pointer', '-static', '-Wall', '-Wextra'];
  execFileSync('gcc', [...flags, '-Werror', '-o', target, ...sources, '-lpthread'], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
}
