import { basename } from 'node:path';

/** Imports of a module: the modules it needs at once, and those that it imports by `import()`. */
export interface ModuleImports {
  readonly static: readonly string[];
  readonly dynamic: readonly string[];
}

/** Modules by path, with their imports. */
export type ModuleGraph = ReadonlyMap<string, ModuleImports>;

/** How a program is divided into files. */
export interface BundlePlan {
  /** The modules that are loaded at the start. */
  readonly core: ReadonlySet<string>;
  /** Main modules of the parts, and the parts' names. */
  readonly parts: ReadonlyMap<string, string>;
  /** Modules that several parts need and the start does not, and the names of their files. */
  readonly shared: ReadonlyMap<string, string>;
}

function staticClosure(graph: ModuleGraph, entry: string): Set<string> {
  const closure = new Set([entry]);
  for (const module of closure) {
    for (const target of graph.get(module)?.static ?? []) closure.add(target);
  }
  return closure;
}

/**
 * Divides a program at its calls of `import()`: the target of each is the main module of a part. What the
 * start needs is the core. What several parts share belongs to it too, or is divided by which of certain
 * parts need it, so that those load nothing that is of no use to them.
 * @param divideBy main modules of these parts, by their names without `.ts`
 */
export function planBundle(
  graph: ModuleGraph,
  entry: string,
  divideBy: readonly string[] = [],
): BundlePlan {
  const core = staticClosure(graph, entry);
  const dynamic = [...graph.values()].flatMap((imports) => imports.dynamic);
  const targets = [...new Set(dynamic)];
  const users = new Map<string, string[]>();
  for (const target of targets) {
    for (const module of staticClosure(graph, target)) {
      if (core.has(module)) continue;
      users.set(module, [...(users.get(module) ?? []), basename(target, '.ts')]);
    }
  }
  const shared = new Map<string, string>();
  for (const [module, names] of users) {
    if (names.length === 1) continue;
    const needy = divideBy.filter((name) => names.includes(name));
    if (divideBy.length === 0) core.add(module);
    else shared.set(module, ['shared', ...needy].join('-'));
  }
  const parts = new Map<string, string>();
  for (const target of targets) {
    if (core.has(target) || shared.has(target)) continue;
    const name = basename(target, '.ts');
    if ([...parts.values()].includes(name)) throw new Error(`two parts are called ${name}: rename`);
    parts.set(target, name);
  }
  return { core, parts, shared };
}
