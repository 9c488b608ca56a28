import { isAbsolute, normalize } from 'node:path/posix';
import { TsvmError } from '../../errors.ts';

/** Docker's error about a mount. */
export function invalidMount(type: string, reason: string): TsvmError {
  return new TsvmError('invalid-container', `invalid mount config for type "${type}": ${reason}`);
}

/**
 * The path in the container where something is mounted, in its shortest form.
 * @param volumeText the `-v` that it comes from
 * @throws TsvmError `invalid-container` when it is relative or the root
 */
export function mountDestination(path: string, type: string, volumeText?: string): string {
  const destination = path === '' ? '' : normalize(path).replace(/(?<=.)\/$/, '');
  const reason = destinationProblem(path, destination);
  if (reason === undefined) return destination;
  const error = invalidMount(type, reason);
  if (volumeText === undefined) throw error;
  throw new TsvmError(
    'invalid-container',
    `invalid volume specification: '${volumeText}': ${error.message}`,
  );
}

function destinationProblem(path: string, destination: string): string | undefined {
  if (path === '') return 'field Target must not be empty';
  if (path.includes('\0')) return `invalid mount path: '${path.replaceAll('\0', '\\0')}'`;
  if (destination === '/') return "invalid specification: destination can't be '/'";
  if (isAbsolute(path)) return undefined;
  return `invalid mount path: '${path}' mount path must be absolute`;
}
