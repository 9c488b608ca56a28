/**
 * `tsvm boot` with an injected fault: `odd-machine.ts FAULT KERNEL WORDS`. For tests of how the process
 * then ends. Some faults happen on SIGUSR2.
 */
import { runBoot } from '../../vmm/cli/run-boot.ts';
import { runToExit } from '../../vmm/cli/run-to-exit.ts';
import { Machine } from '../../vmm/machine/machine.ts';

const [, , fault, kernelPath = '', words] = process.argv;
const DELAY_MS = 300;

const FAULTS: Readonly<Record<string, () => void>> = {
  'never-closes': () => {
    Machine.prototype.close = () => new Promise(() => {});
  },
  'busy-for-ever': () => {
    setTimeout(() => {
      process.stderr.write('busy\n');
      for (;;);
    }, DELAY_MS);
  },
  'timer-throws': () => {
    process.once('SIGUSR2', () => {
      setTimeout(() => {
        throw new Error('thrown in a timer');
      });
    });
  },
  'rejects-alone': () => {
    process.once('SIGUSR2', () => void Promise.reject(new Error('rejected alone')));
  },
  'wake-throws': () => {
    // Bypasses the containment of exceptions: throws in the addon's callback.
    Machine.prototype.contain = () => {
      throw new Error('thrown in a wake');
    };
  },
  'close-fails': () => {
    const { close } = Machine.prototype;
    Machine.prototype.close = async function (this: Machine) {
      await close.call(this);
      throw new AggregateError([new Error('first failure'), new Error('second failure')]);
    };
  },
};

FAULTS[fault ?? '']?.();
runToExit(() =>
  runBoot(
    {
      kernelPath,
      appendCmdline: words,
      memoryBytes: 64 * 2 ** 20,
      acpi: false,
    },
    {
      name: undefined,
      detached: undefined,
      console: undefined,
      onReboot: 'exit',
      logLevel: 'info',
      metricsPath: undefined,
      sandboxFiles: [],
    },
  ),
);
