import { isRunning } from '../../container/containers/container-state.ts';
import { TsvmError } from '../../errors.ts';
import { clientOf, forEachContainer, openContainers } from './containers.ts';
import { parseRestart } from './create/option-kinds.ts';
import { resourceOptions } from './create/resources.ts';
import { text } from './option-values.ts';
import { UsageError, type Verb } from './verb.ts';

const RESOURCES = ['cpus', 'cpuShares', 'cpusetCpus', 'memory', 'pidsLimit'];

export const updateVerb: Verb = {
  usage: 'update [OPTIONS] CONTAINER [CONTAINER...]',
  argumentsMin: 1,
  argumentsMax: Number.POSITIVE_INFINITY,
  help: `
A running container cannot have more memory or CPUs than its machine was started with: those apply at its
next start.

Examples:
  tsvm update --restart unless-stopped web
  tsvm update -m 256m --pids-limit 100 web`,
  addOptions: (command) =>
    command
      .option('-c, --cpu-shares <number>', 'relative CPU weight within the machine')
      .option('--cpus <number>', 'number of CPUs')
      .option('--cpuset-cpus <list>', 'CPUs of the machine that may be used: 0-1,3')
      .option('-m, --memory <bytes>', 'memory limit')
      .option('--memory-reservation <bytes>', 'ignored: free memory goes back to the host')
      .option('--memory-swap <bytes>', 'ignored: machines have no swap')
      .option('--pids-limit <number>', 'maximum number of processes and threads; -1: unlimited')
      .option('--restart <policy>', 'no, always, unless-stopped or on-failure[:COUNT]'),
  run: async (names, options) => {
    const restart = text(options, 'restart');
    const policy = restart === undefined ? undefined : parseRestart(restart);
    const given = RESOURCES.filter((name) => text(options, name) !== undefined);
    if (policy === undefined && given.length === 0) {
      throw new UsageError('you must provide one or more flags when using this command');
    }
    const resources = resourceOptions(options);
    const store = openContainers();
    return await forEachContainer(names, async (name) => {
      const container = await store.find(name);
      if (policy !== undefined && policy.name !== 'no' && container.config.autoRemove) {
        throw new TsvmError(
          'container-conflict',
          'Restart policy cannot be updated because AutoRemove is enabled for the container',
        );
      }
      await store.updateConfig(container.config.id, (config) => ({
        ...config,
        ...(policy !== undefined && { restart: policy }),
        limits: {
          ...config.limits,
          // A limit that is taken away is undefined.
          ...(given.includes('memory') && { memoryBytes: resources.limits.memoryBytes }),
          ...(given.includes('cpus') && { cpus: resources.limits.cpus }),
          ...(given.includes('cpuShares') && { cpuWeight: resources.limits.cpuWeight }),
          ...(given.includes('cpusetCpus') && { cpuset: resources.limits.cpuset }),
          ...(given.includes('pidsLimit') && { pids: resources.limits.pids }),
        },
        ...(given.includes('memory') && { machineMemoryBytes: resources.machineMemoryBytes }),
        ...(given.includes('cpus') && { cpuCount: resources.cpuCount }),
      }));
      if (isRunning(container.state)) await clientOf(store, container).call('reload');
    });
  },
};
