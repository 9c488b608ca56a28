import { PMEM_QUEUES, PmemDevice } from '../../devices/virtio/pmem/pmem-device.ts';
import { errorText } from '../../errors.ts';
import { scriptQueues } from '../../kvm/queue-workers.ts';
import { RateLimit } from '../../observability/rate-limit.ts';
import type { Assembly } from '../assembly.ts';
import type { PmemFile } from './pmem-files.ts';
import { attachVirtio } from './virtio.ts';

export function attachPmems(assembly: Assembly): void {
  const { machine, host, pmemFiles } = assembly;
  for (const [index, placement] of assembly.placements.allocateSeries(pmemFiles.length).entries()) {
    const file = pmemFiles[index] as PmemFile;
    const id = `pmem${index}`;
    const failures = new RateLimit(1, 60_000);
    file.watch((error) => machine.fail(error));
    attachVirtio(assembly, placement, PMEM_QUEUES, (queueHost) => {
      return new PmemDevice({
        id,
        region: file.region,
        fileBytes: file.fileBytes,
        flush: () => file.flush(),
        onFailure: (error) =>
          failures.log(host.logger.warn, `${errorText(error)}; the guest is told of an I/O error`),
        createQueues: scriptQueues(queueHost),
      });
    });
  }
}
