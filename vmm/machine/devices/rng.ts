import { RngDevice } from '../../devices/virtio/rng/rng-device.ts';
import { rngWorker } from '../../kvm/queue-workers.ts';
import type { Assembly } from '../assembly.ts';
import { attachVirtio } from './virtio.ts';

export function attachRng(assembly: Assembly): void {
  const placement = assembly.placements.allocate();
  attachVirtio(assembly, placement, 1, (host) => {
    return new RngDevice({ id: 'rng', createWorker: rngWorker(host) });
  });
}
