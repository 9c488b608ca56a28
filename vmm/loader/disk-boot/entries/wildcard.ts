/**
 * Whether a name matches a pattern with `*`, `?` and `[...]`, as fnmatch(3) does it. In time
 * proportional to the product of the lengths, whatever the pattern.
 */
export function matchesWildcard(name: string, pattern: string): boolean {
  const units = parsePattern(pattern);
  let at = 0;
  let unit = 0;
  /** Where to go on when a `*` must take one character more. */
  let retry: { at: number; unit: number } | undefined;
  while (at < name.length) {
    const current = units[unit];
    if (current === '*') {
      retry = { at, unit: ++unit };
    } else if (current?.(name.charAt(at))) {
      at++;
      unit++;
    } else if (retry !== undefined) {
      retry = { at: retry.at + 1, unit: retry.unit };
      ({ at, unit } = retry);
    } else {
      return false;
    }
  }
  return units.slice(unit).every((rest) => rest === '*');
}

type Unit = '*' | ((character: string) => boolean);

function parsePattern(pattern: string): Unit[] {
  const units: Unit[] = [];
  for (let at = 0; at < pattern.length; at++) {
    const character = pattern.charAt(at);
    const end = character === '[' ? pattern.indexOf(']', at + 2) : -1;
    if (character === '*') units.push('*');
    else if (character === '?') units.push(() => true);
    else if (end > 0) {
      units.push(setOf(pattern.slice(at + 1, end)));
      at = end;
    } else units.push((other) => other === character);
  }
  return units;
}

/** `[abc]`, `[a-z]`, `[!a]`. */
function setOf(text: string): (character: string) => boolean {
  const isNegated = text.startsWith('!') || text.startsWith('^');
  const members = isNegated ? text.slice(1) : text;
  return (character) => {
    let isMember = false;
    for (let at = 0; at < members.length && !isMember; at++) {
      const isRange = members.charAt(at + 1) === '-' && at + 2 < members.length;
      const last = isRange ? members.charAt(at + 2) : members.charAt(at);
      isMember = character >= members.charAt(at) && character <= last;
      if (isRange) at += 2;
    }
    return isMember !== isNegated;
  };
}
