/** Pages in a row. */
export interface PageRange {
  readonly first: number;
  readonly count: number;
}

/** The same pages as few ranges, in ascending order. @param pages sorted in place */
export function* pageRanges(pages: Uint32Array): Generator<PageRange> {
  pages.sort();
  let first = 0;
  let count = 0;
  for (const page of pages) {
    if (count > 0 && page < first + count) continue;
    if (count > 0 && page === first + count) {
      count += 1;
      continue;
    }
    if (count > 0) yield { first, count };
    first = page;
    count = 1;
  }
  if (count > 0) yield { first, count };
}
