import { InvalidArgumentError } from 'commander';
import { parseSize } from '../util/size.ts';

const MIB = 2 ** 20;

/**
 * A size of memory in bytes, as given in an option. A number without a unit is in MiB.
 * @throws InvalidArgumentError
 */
export function parseMemory(text: string): number {
  const bytes = parseSize(text, MIB);
  if (bytes === undefined) throw new InvalidArgumentError('Use a size such as 512M or 2G.');
  return bytes;
}
