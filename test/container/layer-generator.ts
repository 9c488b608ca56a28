/** Stacks of layers that follow from a seed: what real images have, more often than they have it. */
import type { Random } from '../support/random.ts';
import { type MadeMember, makeTar } from '../support/tar-maker.ts';

/** Few names, so that layers meet. */
const NAMES = ['a', 'b', 'c', 'd-1', 'e e', 'f\xc3\xa9', 'g\xff\xfe', 'h'.repeat(255), '.i', '-j'];
const LAYERS_MAX = 6;
const MEMBERS_MAX = 30;

type Kind = 'file' | 'directory' | 'symlink' | 'other';

/** What is there, by path; enough of it to make layers that every tool takes. */
class Present {
  readonly kinds = new Map<string, Kind>([['', 'directory']]);

  directories(): string[] {
    return [...this.kinds].filter(([, kind]) => kind === 'directory').map(([path]) => path);
  }

  of(kind: Kind): string[] {
    return [...this.kinds].filter(([, one]) => one === kind).map(([path]) => path);
  }

  remove(path: string): void {
    for (const name of [...this.kinds.keys()]) {
      if (name === path || name.startsWith(`${path}/`)) this.kinds.delete(name);
    }
  }

  set(path: string, kind: Kind): void {
    if (kind !== 'directory' || this.kinds.get(path) !== 'directory') this.remove(path);
    this.kinds.set(path, kind);
  }
}

function join(folder: string, name: string): string {
  return folder === '' ? name : `${folder}/${name}`;
}

export function generateLayers(random: Random): Buffer[] {
  const present = new Present();
  return Array.from({ length: random.between(1, LAYERS_MAX) }, (_, layer) => {
    const members: MadeMember[] = [{ name: './', type: '5', mtime: 1_000_000 + layer }];
    const lower = new Set(present.kinds.keys());
    const touched = new Set<string>();
    const count = random.between(1, MEMBERS_MAX);
    for (let index = 0; index < count; index++) {
      members.push(...randomMember(random, present, lower, touched));
    }
    return makeTar(members);
  });
}

function randomMember(
  random: Random,
  present: Present,
  lower: ReadonlySet<string>,
  touched: Set<string>,
): MadeMember[] {
  const folder = random.pick(present.directories());
  const path = join(folder, random.pick(NAMES));
  if (path.length > 1500) return [];
  const kind = random.weighted({
    file: 30,
    directory: 25,
    symlink: 10,
    hardLink: 10,
    device: 4,
    fifo: 2,
    whiteout: 10,
    opaque: 4,
  });
  // What one layer does to a path twice is left open by the specification.
  const overlaps = [...touched].some((other) => other === path || other.startsWith(`${path}/`));
  const attributes = randomAttributes(random);
  const add = (one: Kind, member: Omit<MadeMember, 'name'>): MadeMember[] => {
    present.set(path, one);
    touch(touched, path);
    return [{ name: spelled(random, path), ...attributes, ...member }];
  };
  switch (kind) {
    case 'directory':
      if (overlaps) return [];
      return add('directory', { type: '5' });
    case 'file':
      if (overlaps) return [];
      return add('file', { data: randomData(random) });
    case 'symlink':
      if (overlaps) return [];
      return add('symlink', { type: '2', linkName: randomTarget(random), mode: 0o777, pax: {} });
    case 'fifo':
      if (overlaps) return [];
      return add('other', { type: '6', pax: {} });
    case 'device': {
      if (overlaps) return [];
      const device = [random.below(4096), random.below(2 ** 20)] as const;
      return add('other', { type: random.pick(['3', '4']), device, pax: {} });
    }
    case 'hardLink': {
      const targets = present.of('file').filter((file) => file !== path);
      if (overlaps || targets.length === 0) return [];
      const target = random.pick(targets);
      // Its target must not go with what it replaces.
      if (target.startsWith(`${path}/`)) return [];
      present.set(path, 'file');
      touch(touched, path);
      return [{ name: path, type: '1', linkName: target }];
    }
    case 'whiteout': {
      if (!lower.has(path) || path === '' || overlaps || !present.kinds.has(path)) return [];
      present.remove(path);
      touch(touched, path);
      const at = path.lastIndexOf('/') + 1;
      if (path.length - at > 251) return [];
      return [{ name: `${path.slice(0, at)}.wh.${path.slice(at)}` }];
    }
    case 'opaque': {
      const inside = [...touched].some((other) => folder === '' || other.startsWith(`${folder}/`));
      if (inside || folder === '' || touched.has(folder)) return [];
      for (const name of [...present.kinds.keys()]) {
        if (name.startsWith(`${folder}/`)) present.kinds.delete(name);
      }
      touch(touched, `${folder}/.`);
      return [{ name: `${folder}/.wh..wh..opq` }];
    }
  }
}

function touch(touched: Set<string>, path: string): void {
  touched.add(path);
}

function spelled(random: Random, path: string): string {
  return random.pick(['', './', '/']) + path;
}

function randomAttributes(random: Random): Partial<MadeMember> {
  const pax: Record<string, string> = {};
  if (random.chance(0.2)) pax['SCHILY.xattr.user.test'] = `v${random.uint32()}`;
  if (random.chance(0.1)) pax['SCHILY.xattr.trusted.other'] = 'x'.repeat(random.below(300));
  return {
    mode: random.pick([0o644, 0o600, 0o755, 0o4755, 0o2755, 0o1777, 0o000, 0o7777]),
    uid: random.pick([0, 1, 1000, 65534, 100_000, 2 ** 31]),
    gid: random.pick([0, 5, 1000, 65534, 2 ** 31 + 5]),
    mtime: random.pick([0, 1, 1_700_000_000, 1_700_000_000.5, 4_000_000_000, 1e9 + 0.123456789]),
    pax,
  };
}

function randomData(random: Random): Buffer {
  const length = random.pick([0, 1, 511, 512, 513, 4095, 4096, 4097, random.below(20_000)]);
  const data = Buffer.alloc(length);
  for (let at = 0; at + 4 <= length; at += 4) data.writeUInt32LE(random.uint32(), at);
  return data;
}

function randomTarget(random: Random): string {
  return random.pick([
    'a',
    '../b',
    '/c',
    'nowhere',
    '../../../../x',
    '.',
    '/',
    'y'.repeat(random.between(1, 255)),
    `${'z'.repeat(200)}/`.repeat(10),
  ]);
}
