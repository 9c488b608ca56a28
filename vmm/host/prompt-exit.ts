import { loadAddon } from './addon.ts';

/** What `process.exit` calls after the handlers of `exit`. */
interface ExitingProcess {
  reallyExit: (code: number) => void;
}

/**
 * Has `process.exit` end the process at once. Node would wait for V8's threads first, which hangs when
 * one of them compiles and needs garbage to be collected, because this thread would have to do that
 * (nodejs/node#54918).
 */
export function exitPromptly(): void {
  const exiting = process as unknown as ExitingProcess;
  const exitSlowly = exiting.reallyExit;
  exiting.reallyExit = (code) => {
    try {
      loadAddon().exitNow(code);
    } catch {
      // The addon is not built.
      exitSlowly.call(process, code);
    }
  };
}
