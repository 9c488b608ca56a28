import { BALLOON_QUEUES, BalloonDevice } from '../../devices/virtio/balloon/balloon-device.ts';
import { scriptQueues } from '../../kvm/queue-workers.ts';
import type { Assembly } from '../assembly.ts';
import { attachVirtio } from './virtio.ts';

export function attachBalloon(assembly: Assembly): void {
  const { machine, memory } = assembly;
  const placement = assembly.placements.allocate();
  attachVirtio(assembly, placement, BALLOON_QUEUES, (host) => {
    const balloon = new BalloonDevice({ id: 'balloon', memory, createQueues: scriptQueues(host) });
    machine.controls.balloon = {
      get targetBytes() {
        return balloon.targetBytes;
      },
      get actualBytes() {
        return balloon.actualBytes;
      },
      get statistics() {
        return balloon.lastStatistics;
      },
      setTarget: (bytes) => balloon.setTarget(bytes),
      refreshStatistics: () => balloon.refreshStatistics(),
    };
    return balloon;
  });
}
