/** A value as JSON has it: without properties that are undefined. */
export type Json<T> = T extends object ? { [K in keyof T]: Json<Exclude<T[K], undefined>> } : T;

/** `value`, which consists of what JSON can express, as a program that parses its JSON gets it. */
export function asJson<T>(value: T): Json<T> {
  return JSON.parse(JSON.stringify(value)) as Json<T>;
}
