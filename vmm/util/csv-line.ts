/**
 * Reads one line of comma-separated values as Go's encoding/csv does, with its messages (RFC 4180).
 * @throws RangeError
 */
export function csvFields(line: string): string[] {
  if (line === '') throw new RangeError('EOF');
  const fields: string[] = [];
  let at = 0;
  for (;;) {
    const quoted = line[at] === '"';
    let field = '';
    if (quoted) {
      at++;
      for (;;) {
        const end = line.indexOf('"', at);
        if (end < 0) throw csvError(line.length, 'extraneous or missing " in quoted-field');
        field += line.slice(at, end);
        at = end + 1;
        if (line[at] !== '"') break;
        field += '"';
        at++;
      }
      if (at < line.length && line[at] !== ',') {
        throw csvError(at - 1, 'extraneous or missing " in quoted-field');
      }
    } else {
      const comma = line.indexOf(',', at);
      const end = comma < 0 ? line.length : comma;
      field = line.slice(at, end);
      const bare = field.indexOf('"');
      if (bare >= 0) throw csvError(at + bare, 'bare " in non-quoted-field');
      at = end;
    }
    fields.push(field);
    if (at >= line.length) return fields;
    at++;
  }
}

function csvError(index: number, what: string): RangeError {
  return new RangeError(`parse error on line 1, column ${index + 1}: ${what}`);
}
