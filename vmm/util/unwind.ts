/** The failures of a stack's releases, in the order in which they happened. */
function failuresOf(error: unknown): unknown[] {
  if (!(error instanceof SuppressedError)) return [error];
  return [...failuresOf(error.suppressed), ...failuresOf(error.error)];
}

/**
 * Releases all that a stack holds, in reverse, each whatever the others do. Rejects with the failure,
 * or with an AggregateError that tells of each.
 */
export async function unwind(stack: AsyncDisposableStack): Promise<void> {
  try {
    await stack.disposeAsync();
  } catch (error) {
    const failures = failuresOf(error);
    if (failures.length === 1) throw error;
    const messages = failures.map((failure) =>
      failure instanceof Error ? failure.message : String(failure),
    );
    throw new AggregateError(failures, messages.join('; '));
  }
}
