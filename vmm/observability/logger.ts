/** From the least to the most verbose. */
export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Messages for the person who runs the machine. */
export interface Logger {
  error(message: string): void;
  warn(message: string): void;
  info(message: string): void;
  debug(message: string): void;
}

/** @param write called with each line, without its newline */
export function createLogger(level: LogLevel, write: (line: string) => void): Logger {
  const limit = LOG_LEVELS.indexOf(level);
  const at = (own: LogLevel) =>
    LOG_LEVELS.indexOf(own) <= limit
      ? (message: string) => write(`tsvm: ${own === 'info' ? '' : `${own}: `}${message}`)
      : () => {};
  return { error: at('error'), warn: at('warn'), info: at('info'), debug: at('debug') };
}

/** Discards all messages. */
export const NO_LOGGER = createLogger('error', () => {});
