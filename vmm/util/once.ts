/** Makes a function that computes its answer at its first call and gives it again at each other. */
export function once<T>(compute: () => T): () => T {
  let answer: { readonly value: T } | undefined;
  return () => {
    // A throw leaves nothing behind: the next call tries again.
    answer ??= { value: compute() };
    return answer.value;
  };
}
