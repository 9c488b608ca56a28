/** The sink of a console's output. Its methods never throw or reject. */
export interface ConsoleOutput {
  /** Accepts all of `bytes` and may keep the array. False: write no more until {@link onceDrained}. */
  write(bytes: Uint8Array): boolean;
  /** Resolves when there is room again. */
  onceDrained(): Promise<void>;
}
