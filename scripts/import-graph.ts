/** Imports of TypeScript and includes of C as a graph. Pure: files come as text. */
import { posix } from 'node:path';

/** What each file refers to, by path in the repository. */
export type Graph = ReadonlyMap<string, readonly string[]>;

export interface ParsedImports {
  /** Specifiers of static, type-only and dynamic imports, re-exports and worker URLs. */
  readonly specifiers: readonly string[];
  /** Dynamic imports whose specifier is not a string literal: their target is unknown. */
  readonly unknown: number;
}

const STATIC = /^(?:import|export)\b[^;'"]*?\bfrom\s*['"]([^'"]+)['"]/gms;
const SIDE_EFFECT = /^import\s*['"]([^'"]+)['"]/gm;
const DYNAMIC = /\bimport\(\s*(?:(['"])([^'"]+)\1\s*[,)])?/g;
const WORKER = /new URL\(\s*['"]([^'"]+\.ts)['"]\s*,\s*import\.meta\.url/g;
const COMMENT = /\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*$/gm;

export function parseImports(source: string): ParsedImports {
  const code = source.replace(COMMENT, '');
  const specifiers: string[] = [];
  let unknown = 0;
  for (const [, specifier = ''] of code.matchAll(STATIC)) specifiers.push(specifier);
  for (const [, specifier = ''] of code.matchAll(SIDE_EFFECT)) specifiers.push(specifier);
  for (const [, , specifier] of code.matchAll(DYNAMIC)) {
    if (specifier === undefined) unknown++;
    else specifiers.push(specifier);
  }
  for (const [, url = ''] of code.matchAll(WORKER)) {
    specifiers.push(url.startsWith('.') ? url : `./${url}`);
  }
  return { specifiers, unknown };
}

/** Quoted includes; those in angle brackets are the system's. */
export function parseIncludes(source: string): string[] {
  return Array.from(source.matchAll(/^\s*#\s*include\s+"([^"]+)"/gm), ([, path = '']) => path);
}

/** The file that a relative specifier of `file` names. */
export function resolveFrom(file: string, specifier: string): string {
  return posix.join(posix.dirname(file), specifier);
}

/** A C module: `x.c` with `x.h`, named by the path without the suffix. */
export function moduleOf(path: string): string {
  return path.replace(/\.(c|cc|h)$/, '');
}

/**
 * The circles of a graph: its strongly connected components of more than one file, by Tarjan's
 * algorithm, each sorted.
 */
export function findCircles(graph: Graph): string[][] {
  const circles: string[][] = [];
  const indices = new Map<string, number>();
  const lows = new Map<string, number>();
  const stack: string[] = [];
  const onStack = new Set<string>();
  const visit = (file: string): number => {
    const index = indices.size;
    let low = index;
    indices.set(file, index);
    stack.push(file);
    onStack.add(file);
    for (const target of graph.get(file) ?? []) {
      const known = indices.get(target);
      if (known === undefined) low = Math.min(low, visit(target));
      else if (onStack.has(target)) low = Math.min(low, known);
    }
    lows.set(file, low);
    if (low === index) {
      const circle = stack.splice(stack.lastIndexOf(file));
      for (const member of circle) onStack.delete(member);
      if (circle.length > 1) circles.push(circle.sort());
    }
    return low;
  };
  for (const file of graph.keys()) if (!indices.has(file)) visit(file);
  return circles;
}
