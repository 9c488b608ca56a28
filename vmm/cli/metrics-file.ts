import { closeSync, constants, openSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { TsvmError } from '../errors.ts';
import { writeProblem } from '../host/write-problem.ts';
import type { BootMetrics } from '../machine/boot-metrics.ts';
import type { Logger } from '../observability/logger.ts';
import { fsPath } from '../util/byte-names.ts';
import { errnoCode } from './output-descriptor.ts';

const FLAGS = constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY;

function isNamedPipe(path: string): boolean {
  return statSync(fsPath(path), { throwIfNoEntry: false })?.isFIFO() ?? false;
}

/**
 * Checks before a run whether its metrics can be written, without changing the file.
 * @throws TsvmError `file-unreadable`
 */
export function checkMetricsFile(path: string): void {
  // Its reader may open it later.
  if (isNamedPipe(path)) return;
  try {
    tryToWrite(path);
  } catch (cause) {
    throw new TsvmError(
      'file-unreadable',
      `the metrics cannot be written to ${path} (${writeProblem(cause)}): choose another file`,
      { cause },
    );
  }
}

function tryToWrite(path: string): void {
  try {
    closeSync(openSync(fsPath(path), FLAGS));
  } catch (error) {
    if (errnoCode(error) !== 'ENOENT') throw error;
    closeSync(openSync(fsPath(path), FLAGS | constants.O_CREAT | constants.O_EXCL, 0o600));
    unlinkSync(fsPath(path));
  }
}

/**
 * Writes the metrics after a run, as JSON, or in Prometheus' text format to a file that ends with
 * `.prom`, as its node exporter reads them. A failure is logged and does not change the exit code.
 * @param name of the machine
 */
export async function writeMetricsFile(
  path: string,
  name: string,
  metrics: BootMetrics,
  logger: Logger,
): Promise<void> {
  const text = await metricsText(path, name, metrics);
  try {
    // A named pipe without a reader must not block the exit.
    const create = constants.O_CREAT | constants.O_TRUNC;
    const fd = openSync(fsPath(path), FLAGS | (isNamedPipe(path) ? 0 : create), 0o644);
    try {
      writeFileSync(fd, text);
    } finally {
      closeSync(fd);
    }
  } catch (cause) {
    logger.warn(`the metrics cannot be written to ${path} (${writeProblem(cause)})`);
  }
}

async function metricsText(path: string, name: string, metrics: BootMetrics): Promise<string> {
  if (!path.endsWith('.prom')) return `${JSON.stringify(metrics.toJson(), null, 2)}\n`;
  const { prometheusText } = await import('../machine/prometheus-text.ts');
  return prometheusText(name, metrics.machine);
}
