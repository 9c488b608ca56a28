/** Values in templates, as Go has and shows them. */

/** A Go map shows its keys in order; other objects are structs, which show their values. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Go's text/template: "the empty values are false, 0, any nil …, and any … of length zero". */
export function isTruthy(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (isRecord(value)) return Object.keys(value).length > 0;
  return Boolean(value);
}

/** Go's nil slice and nil map: JSON has null for them, templates an empty list and an empty map. */
export const NIL_LIST: readonly string[] = withNullJson([]);
export const NIL_MAP: Readonly<Record<string, string>> = withNullJson({});

function withNullJson<T extends object>(value: T): T {
  return Object.freeze(Object.defineProperty(value, 'toJSON', { value: () => null }));
}

/** As Go's fmt prints it with %v. */
export function showValue(value: unknown): string {
  if (value === undefined) return '<no value>';
  if (value === null) return '<nil>';
  if (Array.isArray(value)) return `[${value.map(showValue).join(' ')}]`;
  if (isRecord(value)) {
    const keys = Object.keys(value).sort();
    return `map[${keys.map((key) => `${key}:${showValue(value[key])}`).join(' ')}]`;
  }
  return String(value);
}

/** Formats a value like Go's encoding/json; missing optional values are null. */
export function showJson(value: unknown): string {
  return JSON.stringify(value ?? null);
}
