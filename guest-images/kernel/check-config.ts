/**
 * Checks that Kconfig accepted every line of the fragment. It silently drops an option with unmet
 * dependencies, and an option that another one selects cannot be disabled.
 * @throws Error that names the options
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
        'Check their dependencies and the options that select them.',
    );
  }
}

/** The options in a configuration file, in order; `n` for `is not set`. */
function parseConfig(text: string): [option: string, value: string][] {
  const lines = text.matchAll(/^(?:(CONFIG_\w+)=(.*)|# (CONFIG_\w+) is not set)$/gm);
  return [...lines].map(([, set, value, unset]) => [set ?? unset ?? '', value ?? 'n']);
}
