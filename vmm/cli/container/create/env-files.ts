import { readFileSync } from 'node:fs';
import { TsvmError } from '../../../errors.ts';
import { hasCode } from '../../../util/error-code.ts';

/** Lines of an `--env-file` or `--label-file`, without comments. @throws TsvmError `file-unreadable` */
export function settingsOfFile(path: string): string[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    const reason = hasCode(cause, 'ENOENT') ? 'no such file or directory' : String(cause);
    throw new TsvmError('file-unreadable', `open ${path}: ${reason}`, { cause });
  }
  const lines = text.replace(/^\ufeff/, '').split(/\r?\n/);
  return lines.map((line) => line.trimStart()).filter((line) => line !== '' && line[0] !== '#');
}

/**
 * Settings of variables. A name alone takes its value from this process, or is left out; `NAME=` is
 * empty. @throws TsvmError `invalid-config`
 */
export function resolveVariables(settings: readonly string[]): string[] {
  return settings.flatMap((setting) => {
    const equals = setting.indexOf('=');
    const name = equals < 0 ? setting : setting.slice(0, equals);
    if (name === '' || /\s/.test(name)) {
      throw new TsvmError('invalid-config', `invalid environment variable: ${setting}`);
    }
    if (equals >= 0) return [setting];
    const value = process.env[name];
    return value === undefined ? [] : [`${name}=${value}`];
  });
}
