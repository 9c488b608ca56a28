/** Calls `tell` with the size of standard output's terminal in characters, now and when it changes. */
export function onWindowSize(tell: (columns: number, rows: number) => void): void {
  const { stdout } = process;
  const look = () => {
    if (stdout.columns > 0 && stdout.rows > 0) tell(stdout.columns, stdout.rows);
  };
  stdout.on('resize', look);
  look();
}
