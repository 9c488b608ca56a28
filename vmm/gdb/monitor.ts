/** Commands of "monitor" in GDB. */
import { REGISTERS } from './registers.ts';
import type { StoppedCpus } from './stopped-cpus.ts';

const HELP = `monitor help            this list
monitor info registers  the registers of the current vCPU, with segment bases and control registers
`;

/** @returns what GDB prints, as bytes */
export function runMonitorCommand(command: string, cpus: StoppedCpus): Uint8Array {
  return Buffer.from(textOf(command.trim(), cpus));
}

function textOf(command: string, cpus: StoppedCpus): string {
  if (command === 'help' || command === '') return HELP;
  if (command !== 'info registers') return `unknown command; there are:\n${HELP}`;
  const lines = REGISTERS.filter(({ bytes, feature }) => bytes <= 8 && !feature.endsWith('.sse'))
    .filter(({ name }) => !name.startsWith('f') || name === 'fs' || name === 'fs_base')
    .map(({ name }) => `${name.padEnd(10)}0x${cpus.registers.number(name).toString(16)}\n`);
  return lines.join('');
}
