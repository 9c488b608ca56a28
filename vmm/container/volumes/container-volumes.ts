/** The one place where containers meet volumes: what `-v`, `--mount`, `--tmpfs`, ... mean. */
import type { ContainerConfig } from '../containers/container-config.ts';
import type { MachinePart } from '../containers/machine-part.ts';
import type { MountSpec } from './mount-spec.ts';

/** The command line's options that concern mounts, as they were given. */
export interface MountOptions {
  readonly volumes: readonly string[];
  readonly mounts: readonly string[];
  readonly tmpfs: readonly string[];
  readonly volumesFrom: readonly string[];
  /** `Volumes` of the image. */
  readonly imageVolumes: readonly string[];
}

/**
 * Checks the options, makes the volumes that they name, and resolves paths.
 * @param findMounts the mounts of another container, for `--volumes-from`
 * @throws TsvmError `invalid-config` with Docker's message
 */
export async function resolveMounts(
  _options: MountOptions,
  _findMounts: (container: string) => readonly MountSpec[],
): Promise<MountSpec[]> {
  return [];
}

/** Prepares the mounts of a container that starts. */
export async function prepareVolumes(_config: ContainerConfig): Promise<MachinePart> {
  return {};
}
