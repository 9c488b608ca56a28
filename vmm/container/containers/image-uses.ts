import type { ImageUse } from '../store/image-store.ts';
import { isRunning } from './container-state.ts';
import type { ContainerStore } from './container-store.ts';

/** The images that containers were made of. */
export function imageUses(containers: ContainerStore): ImageUse[] {
  return containers.readAll().map(({ config, state }) => ({
    containerId: config.id,
    isRunning: isRunning(state),
    imageId: config.imageId,
    layers: config.layers,
  }));
}
