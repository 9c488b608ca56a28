import { type Platform, parsePlatform } from '../../container/platform.ts';
import { parseReference, type Reference } from '../../container/reference.ts';
import { TsvmError } from '../../errors.ts';

type Options = Readonly<Record<string, unknown>>;

export function flag(options: Options, name: string): boolean {
  return options[name] === true;
}

export function text(options: Options, name: string): string | undefined {
  const value = options[name];
  return typeof value === 'string' ? value : undefined;
}

export function texts(options: Options, name: string): readonly string[] {
  const value = options[name];
  return Array.isArray(value) ? value : [];
}

/** @throws TsvmError `invalid-config` */
export function platformOption(options: Options): Platform | undefined {
  const value = text(options, 'platform') ?? process.env['DOCKER_DEFAULT_PLATFORM'];
  return value === undefined || value === '' ? undefined : parsePlatform(value);
}

/** A name on the command line, which Docker's client reads itself: its error has no prefix. */
export function userReference(name: string): Reference {
  try {
    return parseReference(name);
  } catch (error) {
    if (!(error instanceof TsvmError)) throw error;
    throw new TsvmError('invalid-config', error.message, { cause: error });
  }
}
