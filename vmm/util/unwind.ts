/** The failures of a stack's disposals, in their order. */
function failuresOf(error: unknown): unknown[] {
  if (!(error instanceof SuppressedError)) return [error];
  return [...failuresOf(error.suppressed), ...failuresOf(error.error)];
}

/**
 * Disposes of everything on a stack, in reverse order, even when some fail. Rejects with the
 * failure, or with an AggregateError of all.
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
