import { readFileSync } from 'node:fs';
import { TsvmError } from '../../../errors.ts';
import { hasCode } from '../../../util/error-code.ts';
import { badValue } from './option-kinds.ts';

/** A list of `-e`, of `-l`, or of one of their files. */
export interface VariableLists {
  /** `NAME=VALUE`, or `NAME`. */
  readonly given: readonly string[];
  readonly files: readonly string[];
}

/**
 * The variables of `--env-file` and `-e`. A name alone takes its value from this process. If there is none,
 * `-e` removes a variable of the image, and a name in a file means nothing, as with Docker.
 * @throws TsvmError `invalid-config`, `file-unreadable`, with Docker's messages
 */
export function environmentOptions({ files, given }: VariableLists): string[] {
  for (const setting of given) {
    if (nameOf(setting) !== '') continue;
    throw badValue(setting, '-e, --env', `invalid environment variable: ${setting}`);
  }
  const resolved = (setting: string) => {
    const value = setting.includes('=') ? undefined : process.env[setting];
    return value === undefined ? setting : `${setting}=${value}`;
  };
  const ofFiles = files.flatMap(settingsOfFile).map(resolved);
  return [...ofFiles.filter((setting) => setting.includes('=')), ...given.map(resolved)];
}

/** The labels of `--label-file` and `-l`. @throws as {@link environmentOptions} */
export function labelOptions({ files, given }: VariableLists): string[] {
  for (const label of given) {
    const name = nameOf(label).trimStart();
    if (name === '') throw badValue(label, '-l, --label', `invalid label '${label}': empty name`);
    if (!/\s/.test(name)) continue;
    throw badValue(label, '-l, --label', `label '${name}' contains whitespaces`);
  }
  return [...files.flatMap(settingsOfFile), ...given];
}

function nameOf(setting: string): string {
  return setting.split('=', 1)[0] ?? '';
}

/** Lines without comments. Values are as they stand: quotes belong to them. */
function settingsOfFile(path: string): string[] {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    const reason = hasCode(cause, 'ENOENT') ? 'no such file or directory' : String(cause);
    throw new TsvmError('file-unreadable', `open ${path}: ${reason}`, { cause });
  }
  const invalid = (reason: string) =>
    new TsvmError('invalid-config', `invalid env file (${path}): ${reason}`);
  let content: string;
  try {
    // A mark of the byte order is dropped.
    content = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw invalid('it is not UTF-8');
  }
  const lines = content.split(/\r?\n/).map((line) => line.trimStart());
  const settings = lines.filter((line) => line !== '' && line[0] !== '#');
  for (const setting of settings) {
    const name = nameOf(setting);
    if (name === '') throw invalid(`no variable name on line '${setting}'`);
    if (/\s/.test(name)) throw invalid(`variable '${name}' contains whitespaces`);
  }
  return settings;
}
