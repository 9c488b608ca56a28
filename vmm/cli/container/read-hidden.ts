import { TsvmError } from '../../errors.ts';
import { isTerminal } from '../output-descriptor.ts';
import { printMessage } from '../standard-streams.ts';

const STDIN = 0;
const CONTROL_C = '\x03';
const CONTROL_D = '\x04';
const BACKSPACE = /[\x7f\b]/;

/**
 * Asks for a line that is not shown. The terminal is as it was afterwards.
 * @throws TsvmError `invalid-config` without a terminal, or when the user breaks it off
 */
export async function readHidden(prompt: string): Promise<string> {
  if (!isTerminal(STDIN)) {
    throw new TsvmError(
      'invalid-config',
      'Error: Cannot perform an interactive login from a non TTY device',
    );
  }
  const { stdin } = process;
  printMessage(prompt);
  stdin.setRawMode(true).setEncoding('utf8').resume();
  try {
    return await new Promise<string>((resolve, reject) => {
      let line = '';
      stdin.on('data', (text: string) => {
        for (const character of text) {
          if (character === '\r' || character === '\n' || character === CONTROL_D) resolve(line);
          else if (character === CONTROL_C) {
            reject(new TsvmError('invalid-config', 'the login was cancelled'));
          } else if (BACKSPACE.test(character)) line = line.slice(0, -1);
          else line += character;
        }
      });
    });
  } finally {
    stdin.removeAllListeners('data').pause();
    stdin.setRawMode(false);
    printMessage('\n');
  }
}
