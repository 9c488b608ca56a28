import { errorText } from '../../errors.ts';
import { AgentError } from '../agent/agent.ts';

/** Docker's exit codes of a container that could not be started. */
const EXIT_NOT_STARTED = 125;
const EXIT_NOT_EXECUTABLE = 126;
const EXIT_NOT_FOUND = 127;

export interface StartFailure {
  readonly exitCode: number;
  readonly message: string;
}

/** Why a process could not be started, in Docker's words. @param program its first word */
export function startFailure(error: unknown, program: string): StartFailure {
  const prefix = `failed to create task for container: exec: ${JSON.stringify(program)}: `;
  if (!(error instanceof AgentError)) {
    return { exitCode: EXIT_NOT_STARTED, message: errorText(error) };
  }
  switch (error.code) {
    case 'program-not-found': {
      const reason = program.includes('/')
        ? `stat ${program}: no such file or directory`
        : 'executable file not found in $PATH';
      return { exitCode: EXIT_NOT_FOUND, message: prefix + reason };
    }
    case 'program-not-executable':
      return { exitCode: EXIT_NOT_EXECUTABLE, message: `${prefix}permission denied` };
    default:
      return { exitCode: EXIT_NOT_EXECUTABLE, message: error.message };
  }
}
