import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Script } from 'node:vm';

/**
 * What a bundled file calls for Node's modules, for `part:NAME`, and for a module of another file with
 * `core:NAME` or `FILE:NAME`.
 */
type Require = (id: string) => unknown;
type Exports = Readonly<Record<string, unknown>>;

/** Node modules that take 0.3 to 4 ms to load and that many starts do not need. */
const HEAVY_MODULES: readonly string[] = [
  'node:child_process',
  'node:crypto',
  'node:dgram',
  'node:fs/promises',
  'node:http',
  'node:net',
  'node:os',
  'node:readline/promises',
  'node:stream',
  'node:stream/promises',
  'node:timers/promises',
  'node:tty',
  'node:v8',
  'node:vm',
  'node:zlib',
];

/** Loads a module on first use instead of on import. Its names cannot be listed. */
function lateModule(id: string): object {
  let loaded: object | undefined;
  const module = () => {
    loaded ??= builtinModule(id);
    return loaded;
  };
  return new Proxy(
    {},
    {
      get: (_, name) => Reflect.get(module(), name),
      has: (_, name) => Reflect.has(module(), name),
    },
  );
}

/** Without the search and the hooks of `require`. */
function builtinModule(id: string): object {
  const module = process.getBuiltinModule(id);
  if (module === undefined) throw new Error(`Node has no module ${id}`);
  return module;
}

/** A bundled file: a function, because a script of `node:vm` has no `require`, `module` or `__dirname`. */
type BundleFunction = (require: Require, dirname: string, module: { exports: Exports }) => void;

/**
 * A bundled program: `PROGRAM.js`, which is loaded at the start, and `PROGRAM.PART.js` for each
 * module that the program imports by `import()`, loaded by that call with the files of the modules that
 * it shares with others. See `scripts/bundle.ts`.
 *
 * Each file has its bytecode beside it. Node's own compile cache would contain only the bytecode of a
 * module's top level: the functions called before a guest runs, about 400, would be compiled at each
 * start, which takes 7 ms.
 */
export class Bundle {
  readonly #folder: string;
  readonly #program: string;
  readonly #scripts = new Map<string, Script>();
  readonly #parts = new Map<string, Exports>();
  /** Node's modules, which many modules of a file import. */
  readonly #modules = new Map<string, object>();
  /** Modules of `PROGRAM.js` that parts use. */
  #core: Exports = {};

  constructor(folder: string, program: string) {
    this.#folder = folder;
    this.#program = program;
  }

  /** The scripts that have been loaded, by the name of their file without its suffix. */
  get scripts(): ReadonlyMap<string, Script> {
    return this.#scripts;
  }

  /** Runs the program, whose main module begins with its import. */
  run(): void {
    this.#load(this.#program, (exports) => {
      this.#core = exports;
    });
  }

  #load(name: string, onExports: (exports: Exports) => void): void {
    const script = loadScript(join(this.#folder, name));
    this.#scripts.set(name, script);
    const module = {
      /** A file sets its exports before it runs its modules. */
      set exports(exports: Exports) {
        onExports(exports);
      },
    };
    const run = script.runInThisContext() as BundleFunction;
    run((id) => this.#resolve(id), this.#folder, module);
  }

  #resolve(id: string): unknown {
    const [file = '', name = ''] = id.split(':');
    if (file === 'node' || name === '') return this.#nodeModule(id);
    if (file === 'core') return this.#core[name];
    if (file === 'part') return this.#part(name);
    return this.#part(file)[name];
  }

  #nodeModule(id: string): object {
    let module = this.#modules.get(id);
    if (module === undefined) {
      module = HEAVY_MODULES.includes(id) ? lateModule(id) : builtinModule(id);
      this.#modules.set(id, module);
    }
    return module;
  }

  #part(name: string): Exports {
    if (!this.#parts.has(name)) {
      this.#load(`${this.#program}.${name}`, (exports) => this.#parts.set(name, exports));
    }
    return this.#parts.get(name) ?? {};
  }
}

/**
 * Loads a bundled file.
 * @param path without the suffixes `.js` and `.bytecode`. Functions that the bytecode lacks are
 * compiled on first call. V8 ignores bytecode of another Node version or for other V8 options.
 */
export function loadScript(path: string): Script {
  const filename = `${path}.js`;
  const bytecode = `${path}.bytecode`;
  return new Script(readFileSync(filename, 'latin1'), {
    filename,
    ...(existsSync(bytecode) && { cachedData: readFileSync(bytecode) }),
  });
}
