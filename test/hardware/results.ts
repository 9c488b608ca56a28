/** What the emulated host says of its tests: one JSON value a line. */

/** Between two signs of life of a host. */
export const ALIVE_MS = 5_000;

/** A test that ended there. */
export interface HostedTest {
  readonly file: string;
  readonly name: string;
  readonly durationMs: number;
  /** Why it was skipped. */
  readonly skipped?: string;
  /** Why it failed. */
  readonly failure?: string;
}

export type HostMessage =
  | { readonly test: HostedTest }
  /** All tests of a file have ended. */
  | { readonly endedFile: string }
  | { readonly alive: true }
  | { readonly done: true };
