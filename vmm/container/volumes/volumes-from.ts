/** `--volumes-from CONTAINER[:ro|rw]` */
import { TsvmError } from '../../errors.ts';
import type { MountSpec } from './mount-spec.ts';

/**
 * The mounts that a container takes over from another: its folders and volumes.
 * @param findMounts the mounts of a container; throws when there is no such container
 * @throws TsvmError `invalid-container` with Docker's message
 */
export function mountsFrom(
  text: string,
  findMounts: (container: string) => readonly MountSpec[],
): MountSpec[] {
  if (text === '') {
    throw new TsvmError(
      'invalid-container',
      'invalid volumes-from specification: cannot be an empty string',
    );
  }
  const colon = text.indexOf(':');
  const container = colon < 0 ? text : text.slice(0, colon);
  const mode = colon < 0 ? '' : text.slice(colon + 1);
  const words = mode.split(',');
  if (mode !== '' && !words.every((word) => ['ro', 'rw', 'z', 'Z'].includes(word))) {
    throw new TsvmError('invalid-container', `invalid mode for volumes-from: ${mode}`);
  }
  const readOnly = words.includes('ro');
  return findMounts(container).flatMap((mount) => {
    if (mount.type === 'tmpfs') return [];
    const taken = {
      ...mount,
      readOnly: mount.readOnly || readOnly,
      origin: { option: 'volumes-from', container } as const,
    };
    return [taken.type === 'volume' ? { ...taken, copyUp: false } : taken];
  });
}
