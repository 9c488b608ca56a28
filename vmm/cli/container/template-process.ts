/**
 * The process that makes a template: `tsvm container-template SHAPE`. A supervisor starts it when its
 * container has ended, or runs for a while, so that nobody waits for it.
 */
import { spawn } from 'node:child_process';
import { constants, setPriority } from 'node:os';
import type { TemplateShape } from '../../container/warm-start/machine-shape.ts';
import { MachineTemplates } from '../../container/warm-start/machine-templates.ts';
import { TEMPLATE_COMMAND } from '../programs.ts';

/** Starts the process, which outlives this one. */
export function startTemplateProcess(shape: TemplateShape): void {
  const [, program = ''] = process.argv;
  const words = [...process.execArgv, program, TEMPLATE_COMMAND, JSON.stringify(shape)];
  const child = spawn(process.execPath, words, { detached: true, cwd: '/', stdio: 'ignore' });
  child.on('error', () => {});
  child.unref();
}

/** @returns the exit code, which nobody waits for; a failure is kept with the templates */
export async function runTemplateProcess(json: string): Promise<number> {
  setPriority(constants.priority.PRIORITY_LOW);
  const templates = MachineTemplates.ofUser();
  if (templates === undefined) return 1;
  const { makeTemplate } = await import('../../container/warm-start/make-template.ts');
  await makeTemplate(JSON.parse(json) as TemplateShape, templates);
  return 0;
}
