import { hotplugRegion } from '../../arch/x86_64/layout.ts';
import { MEM_QUEUES, MemDevice } from '../../devices/virtio/mem/mem-device.ts';
import { scriptQueues } from '../../kvm/queue-workers.ts';
import type { Assembly } from '../assembly.ts';
import { checkMemoryTarget } from '../config.ts';
import { attachVirtio } from './virtio.ts';

export function attachMem(assembly: Assembly): void {
  const { machine, memory, config, placements } = assembly;
  const { memoryBytes, memoryMaxBytes, memoryTargetBytes = memoryBytes } = config;
  if (memoryMaxBytes === undefined) return;
  attachVirtio(assembly, placements.allocate(), MEM_QUEUES, (host) => {
    const mem = new MemDevice({
      id: 'mem',
      memory,
      region: hotplugRegion(memoryBytes, memoryMaxBytes),
      requestedBytes: memoryTargetBytes - memoryBytes,
      createQueues: scriptQueues(host),
    });
    machine.controls.memory = {
      maxBytes: memoryMaxBytes,
      get targetBytes() {
        return memoryBytes + mem.requestedBytes;
      },
      get actualBytes() {
        return memoryBytes + mem.pluggedBytes;
      },
      setTarget: (bytes) => {
        checkMemoryTarget({ memoryBytes, memoryMaxBytes }, bytes);
        mem.request(bytes - memoryBytes);
      },
    };
    return mem;
  });
}
