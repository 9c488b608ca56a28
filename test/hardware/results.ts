/** What the emulated host says of its tests: one JSON value a line. */

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

export type HostMessage = { readonly test: HostedTest } | { readonly done: true };
