/**
 * Makes a function that computes its result at the first call and returns it at every later one.
 */
export function once<T>(compute: () => T): () => T {
  let answer: { readonly value: T } | undefined;
  return () => {
    // After a throw the next call tries again.
    answer ??= { value: compute() };
    return answer.value;
  };
}
