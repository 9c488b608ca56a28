/**
 * Compares versions: the UAPI Group's Version Format Specification, which systemd-boot and the Boot
 * Loader Specification use. Negative when `a` is older.
 */
export function compareVersions(a: string, b: string): number {
  let [left, right] = [a, b];
  for (;;) {
    left = left.replace(/^[^a-zA-Z0-9~.^-]+/, '');
    right = right.replace(/^[^a-zA-Z0-9~.^-]+/, '');
    // "~" is older than the end, and each other separator is newer than it, in this order.
    for (const separator of ['~', '', '-', '^', '.']) {
      const has = [left, right].map((text) =>
        separator === '' ? text === '' : text.startsWith(separator),
      );
      if (has[0] === true && has[1] === true) {
        if (separator === '') return 0;
        left = left.slice(1);
        right = right.slice(1);
        break;
      }
      if (has[0] !== has[1]) return has[0] === true ? -1 : 1;
    }
    const order = compareParts(/^\d*/, compareNumbers) || compareParts(/^[a-zA-Z]*/, compareTexts);
    if (order !== 0) return order;
  }

  /** Cuts a part off both and compares the parts. */
  function compareParts(form: RegExp, compare: (a: string, b: string) => number): number {
    const [leftPart = ''] = form.exec(left) ?? [];
    const [rightPart = ''] = form.exec(right) ?? [];
    left = left.slice(leftPart.length);
    right = right.slice(rightPart.length);
    return compare(leftPart, rightPart);
  }
}

/** Numbers of any length; a number is newer than none. */
function compareNumbers(a: string, b: string): number {
  if (a === '' || b === '') return a.length - b.length;
  const [left, right] = [a, b].map((text) => text.replace(/^0+/, ''));
  return (left ?? '').length - (right ?? '').length || compareTexts(left ?? '', right ?? '');
}

function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
