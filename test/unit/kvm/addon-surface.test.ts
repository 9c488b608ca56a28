/** `kvm-addon/index.d.ts` and `types/` are written by hand: they name what the addon exports, no more and no less. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { loadAddon } from '../../../vmm/host/addon.ts';
import { packageRoot } from '../../../vmm/util/package-root.ts';

/** Functions, and classes with their members, by name. */
interface Surface {
  readonly functions: string[];
  readonly classes: Record<string, string[]>;
}

const ADDON = join(packageRoot(), 'kvm-addon');
const DECLARATIONS = globSync('{index,types/*}.d.ts', { cwd: ADDON }).map((path) =>
  join(ADDON, path),
);

/** Names of the members in the body of a class or an interface. */
function memberNames(body: string): string[] {
  const names = Array.from(
    body.matchAll(/^ {2}(?:readonly )?(\w+)\??[(:]/gm),
    ([, member = '']) => member,
  );
  return names.filter((name) => name !== 'constructor');
}

/** The members of an interface that a file declares or imports. */
function interfaceMembers(path: string, name: string): string[] {
  const text = readFileSync(path, 'utf8');
  const importing = new RegExp(`^import type \\{[^}]*\\b${name}\\b[^}]*\\} from '(.*)'`, 'm');
  const from = importing.exec(text)?.[1];
  if (from !== undefined) return interfaceMembers(join(dirname(path), from), name);
  const found = new RegExp(`^export interface ${name} \\{\\n(.*?)^\\}`, 'ms').exec(text);
  assert.ok(found, `${path} declares ${name}`);
  return memberNames(found[1] ?? '');
}

/** A file has the formatter's form: declarations at the margin, members two columns in. */
function addDeclarations(surface: Surface, path: string): void {
  const text = readFileSync(path, 'utf8');
  const addClass = (name: string, members: readonly string[]) => {
    surface.classes[name] = [...new Set(members)].sort();
  };
  for (const [, name = ''] of text.matchAll(/^export function (\w+)/gm)) {
    surface.functions.push(name);
  }
  for (const [, name = '', body = ''] of text.matchAll(/^export class (\w+) \{\n(.*?)^\}/gms)) {
    addClass(name, memberNames(body));
  }
  // A class whose instances have the form of an interface of vmm/.
  const constructors = /^export const (\w+): new \((?:[^\n]*|.*?^\})\) => (\w+);/gms;
  for (const [, name = '', type = ''] of text.matchAll(constructors)) {
    addClass(name, interfaceMembers(path, type));
  }
}

function declaredSurface(): Surface {
  const surface: Surface = { functions: [], classes: {} };
  for (const path of DECLARATIONS) addDeclarations(surface, path);
  surface.functions.sort();
  return surface;
}

function exportedSurface(): Surface {
  const surface: Surface = { functions: [], classes: {} };
  for (const [name, value] of Object.entries(loadAddon() as Record<string, unknown>)) {
    assert.equal(typeof value, 'function', `${name} is a function or a class`);
    const { prototype } = value as { prototype?: object };
    const members = Object.getOwnPropertyNames(prototype ?? {}).filter(
      (member) => member !== 'constructor',
    );
    if (members.length === 0) surface.functions.push(name);
    else surface.classes[name] = members.sort();
  }
  surface.functions.sort();
  return surface;
}

test('the addon exports what its types declare', () => {
  const declared = declaredSurface();
  assert.ok(declared.functions.length > 5 && Object.keys(declared.classes).length > 5);
  assert.deepEqual(exportedSurface(), declared);
});
