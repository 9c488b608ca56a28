/**
 * Makes sure that Kconfig took every line of our fragment: an option whose dependencies are not met
 * is dropped without a word, and one that is selected by another cannot be turned off.
 * @throws Error that names the options.
 */
export function checkConfig(fragment: string, resulting: string): void {
  const result = new Map(parseConfig(resulting));
  const wrong = parseConfig(fragment).filter(
    ([option, value]) => (result.get(option) ?? 'n') !== value,
  );
  if (wrong.length > 0) {
    const list = wrong.map(([option, value]) => `${option}=${value}`).join(', ');
    throw new Error(
      `Kconfig did not accept these lines of tsvm.config: ${list}. ` +
        'Look at what the options depend on, or what selects them.',
    );
  }
}

/** The options that a configuration file sets, in its order, `n` for one that `is not set`. */
function parseConfig(text: string): [option: string, value: string][] {
  const lines = text.matchAll(/^(?:(CONFIG_\w+)=(.*)|# (CONFIG_\w+) is not set)$/gm);
  return [...lines].map(([, set, value, unset]) => [set ?? unset ?? '', value ?? 'n']);
}
