import { createInterface } from 'node:readline/promises';
import { standardInput } from '../standard-input.ts';

/** Asks a question of yes or no; the end of the input means no. */
export async function confirm(question: string): Promise<boolean> {
  const lines = createInterface({ input: standardInput(), output: process.stdout });
  try {
    const closed = new Promise<string>((resolve) => lines.once('close', () => resolve('')));
    const answer = await Promise.race([lines.question(`${question} [y/N] `), closed]);
    return /^y(?:es)?$/i.test(answer.trim());
  } finally {
    lines.close();
  }
}
