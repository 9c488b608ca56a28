/** GRUB's commands that matter without a screen: "Commands" of its manual. */
import { readText } from '../searched-volume.ts';
import { evaluateTest } from './conditions.ts';
import type { GrubDevices } from './devices.ts';
import { parseEnvironmentBlock } from './environment-block.ts';
import type { GrubBuiltin, Interpreter } from './interpreter.ts';

/** Commands that only affect the screen, the machine or GRUB itself, and succeed. */
const IGNORED = [
  ...['insmod', 'rmmod', 'echo', 'export', 'true', ':', 'terminal_input', 'terminal_output'],
  ...['terminal', 'serial', 'loadfont', 'save_env', 'play', 'clear', 'sleep', 'gfxpayload'],
  ...['background_color', 'fwsetup', 'setparams', 'authenticate', 'password', 'password_pbkdf2'],
];
const KERNEL_COMMANDS = ['linux', 'linux16', 'linuxefi'];
const INITRD_COMMANDS = ['initrd', 'initrd16', 'initrdefi'];

/** All commands; the others fail, as they do in a GRUB without their module. */
export function grubBuiltins(devices: GrubDevices): Map<string, GrubBuiltin> {
  const file = (path: string, scope: Interpreter) => devices.file(path, scope.valueOf('root'));
  const test: GrubBuiltin = (args, scope) =>
    evaluateTest(args, {
      isFile: (path) => file(path, scope) !== undefined,
      isEmpty: (path) => file(path, scope)?.sizeBytes === 0,
      isDirectory: (path) => devices.isDirectory(path, scope.valueOf('root')),
    });
  const runFile: GrubBuiltin = ([path = ''], scope) => {
    const found = file(path, scope);
    return found !== undefined && scope.runText(readText(found));
  };
  const builtins = new Map<string, GrubBuiltin>([
    ['set', setVariable],
    ['unset', ([name = ''], scope) => scope.variables.delete(name) || true],
    ['[', (args, scope) => test(args.at(-1) === ']' ? args.slice(0, -1) : args, scope)],
    ['test', test],
    ['search', (args, scope) => search(devices, args, scope)],
    ['probe', (args, scope) => probe(devices, args, scope)],
    ['load_env', (args, scope) => loadEnvironment(args, scope, file)],
    ['configfile', runFile],
    ['source', runFile],
    ['.', runFile],
    ['normal', runFile],
    ['eval', (args, scope) => scope.runText(args.join(' '))],
  ]);
  for (const by of ['fs_uuid', 'fs_label', 'file']) {
    const option = `--${by.replace('_', '-')}`.replace('--fs-label', '--label');
    builtins.set(`search.${by}`, ([value = '', variable = 'root'], scope) =>
      search(devices, [option, `--set=${variable}`, value], scope),
    );
  }
  for (const name of IGNORED) builtins.set(name, () => true);
  for (const name of KERNEL_COMMANDS) {
    builtins.set(name, (args, scope) => {
      scope.loaded = { kernel: args.map((word) => onVolume(word, scope)), initrds: [] };
      return true;
    });
  }
  for (const name of INITRD_COMMANDS) {
    builtins.set(name, (args, scope) => {
      if (scope.loaded === undefined) return false;
      const initrds = args.map((word) => onVolume(word, scope));
      scope.loaded = { ...scope.loaded, initrds };
      return true;
    });
  }
  return builtins;
}

/** `$root` may change later, so that the path gets its device now. */
function onVolume(path: string, scope: Interpreter): string {
  return path.startsWith('/') ? `(${scope.valueOf('root')})${path}` : path;
}

const setVariable: GrubBuiltin = (args, scope) => {
  for (const word of args) {
    const equals = word.indexOf('=');
    if (equals > 0) scope.variables.set(word.slice(0, equals), word.slice(equals + 1));
  }
  return true;
};

const SEARCH_OPTIONS: Readonly<Record<string, 'uuid' | 'label' | 'file'>> = {
  '--fs-uuid': 'uuid',
  '-u': 'uuid',
  '--label': 'label',
  '--fs-label': 'label',
  '-l': 'label',
  '--file': 'file',
  '-f': 'file',
};

function search(devices: GrubDevices, args: readonly string[], scope: Interpreter): boolean {
  let by: 'uuid' | 'label' | 'file' = 'file';
  let variable: string | undefined;
  const values: string[] = [];
  for (let index = 0; index < args.length; index++) {
    const word = args[index] ?? '';
    const kind = SEARCH_OPTIONS[word];
    if (kind !== undefined) by = kind;
    else if (word === '--set' || word === '-s') {
      variable =
        args[index + 1]?.startsWith('-') === false && args.length > index + 2
          ? args[++index]
          : 'root';
    } else if (word.startsWith('--set=')) variable = word.slice('--set='.length);
    else if (word === '--hint') index++;
    else if (!word.startsWith('-')) values.push(word);
  }
  const device = devices.search(by, values[0] ?? '');
  if (device === undefined) return false;
  if (variable !== undefined) scope.variables.set(variable, device);
  return true;
}

/** `probe --set=VARIABLE -u DEVICE`: the UUID of a file system, and so on. */
function probe(devices: GrubDevices, args: readonly string[], scope: Interpreter): boolean {
  const variable = args.find((word) => word.startsWith('--set='))?.slice('--set='.length);
  const volume = devices.volume(args.at(-1) ?? '');
  if (variable === undefined || volume === undefined) return false;
  const { uuid, label, type } = volume.fileSystem;
  const has = (...options: string[]) => args.some((word) => options.includes(word));
  const value = has('-u', '--fs-uuid') ? uuid : has('-l', '--label') ? label : type;
  scope.variables.set(variable, value);
  return true;
}

/** `load_env [--file FILE] [--skip-sig] [VARIABLE]...` */
function loadEnvironment(
  args: readonly string[],
  scope: Interpreter,
  file: (path: string, scope: Interpreter) => ReturnType<GrubDevices['file']>,
): boolean {
  let path = `${scope.valueOf('prefix')}/grubenv`;
  const names: string[] = [];
  for (let index = 0; index < args.length; index++) {
    const word = args[index] ?? '';
    if (word === '-f' || word === '--file') path = args[++index] ?? '';
    else if (word.startsWith('--file=')) path = word.slice('--file='.length);
    else if (!word.startsWith('-')) names.push(word);
  }
  const found = file(path, scope);
  if (found === undefined) return false;
  for (const [name, value] of parseEnvironmentBlock(readText(found))) {
    if (names.length === 0 || names.includes(name)) scope.variables.set(name, value);
  }
  return true;
}
