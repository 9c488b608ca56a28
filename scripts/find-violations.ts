import { findCircles, moduleOf, parseImports, parseIncludes, resolveFrom } from './import-graph.ts';
import {
  areSeparate,
  C_RULES,
  mayRefer,
  TYPESCRIPT_RULES,
  UNKNOWN_IMPORTS,
} from './import-rules.ts';

/**
 * Checks imports and includes against the rules.
 * @param sources text by path in the repository
 * @returns one line for each violation
 */
export function findViolations(sources: ReadonlyMap<string, string>): string[] {
  return [...typescriptViolations(sources), ...cViolations(sources)];
}

function typescriptViolations(sources: ReadonlyMap<string, string>): string[] {
  const violations: string[] = [];
  const graph = new Map<string, string[]>();
  for (const [file, source] of sources) {
    if (!file.endsWith('.ts')) continue;
    const { specifiers, unknown } = parseImports(source);
    if (unknown > 0 && UNKNOWN_IMPORTS[file] === undefined) {
      violations.push(`${file} has a dynamic import whose target is not a string literal`);
    }
    const targets = specifiers
      .filter((specifier) => specifier.startsWith('.'))
      .map((specifier) => resolveFrom(file, specifier))
      // Files of declarations name each other by the JavaScript that they declare.
      .map((path) => (sources.has(path) ? path : path.replace(/\.js$/, '.d.ts')));
    for (const to of targets) {
      if (!sources.has(to)) violations.push(`${file} imports ${to}, which does not exist`);
      else if (!mayRefer(TYPESCRIPT_RULES, file, to)) violations.push(`${file} imports ${to}`);
      else if (areSeparate(file, to)) violations.push(`${file} imports its sibling ${to}`);
    }
    graph.set(file, targets);
  }
  for (const circle of findCircles(graph)) {
    violations.push(`these import each other: ${circle.join(', ')}`);
  }
  return violations;
}

function cViolations(sources: ReadonlyMap<string, string>): string[] {
  const violations: string[] = [];
  const graph = new Map<string, string[]>();
  for (const [file, source] of sources) {
    if (!/\.(c|cc|h)$/.test(file)) continue;
    const from = moduleOf(file);
    const targets = graph.get(from) ?? [];
    graph.set(from, targets);
    for (const path of parseIncludes(source)) {
      const to = resolveFrom(file, path);
      // Others are found by the compiler's search path: the public headers, and a device tree's.
      if (!sources.has(to)) continue;
      if (!mayRefer(C_RULES, file, to)) violations.push(`${file} includes ${to}`);
      if (moduleOf(to) !== from) targets.push(moduleOf(to));
    }
  }
  for (const circle of findCircles(graph)) {
    violations.push(`these include each other: ${circle.join(', ')}`);
  }
  return violations;
}
