/** Restart policies across reboots: a systemd unit, and the verb that it runs. */
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { isActive } from '../../container/containers/container-state.ts';
import type { Container } from '../../container/containers/container-store.ts';
import { errorText, TsvmError } from '../../errors.ts';
import { replaceFile } from '../../host/atomic-file.ts';
import { homeFolder } from '../../host/folders.ts';
import { makeFolders } from '../../host/make-folders.ts';
import { writeProblem } from '../../host/write-problem.ts';
import { packageRoot } from '../../util/package-root.ts';
import { print, printMessage } from '../standard-streams.ts';
import { openContainers } from './containers.ts';
import { flag } from './option-values.ts';
import { startContainer } from './start.ts';
import { type Verb, writeLine } from './verb.ts';

const UNIT = 'tsvm-containers.service';

export const systemInstallVerb: Verb = {
  usage: 'install [OPTIONS]',
  argumentsMin: 0,
  argumentsMax: 0,
  help: `
Writes a systemd unit that starts containers with the restart policies always and unless-stopped when the
host boots, and enables it: for root one of the system, for other users one of their own, which also needs
"loginctl enable-linger".

Examples:
  tsvm system install
  tsvm system install --print`,
  addOptions: (command) => command.option('--print', 'only print the unit'),
  run: async (_, options) => {
    const isRoot = process.geteuid?.() === 0;
    const unit = unitText(isRoot);
    if (flag(options, 'print')) {
      print(unit);
      return 0;
    }
    const home = isRoot ? undefined : homeFolder();
    if (!isRoot && home === undefined) {
      throw new TsvmError('invalid-config', 'no folder for the unit: set HOME');
    }
    const folder = home === undefined ? '/etc/systemd/system' : join(home, '.config/systemd/user');
    const path = join(folder, UNIT);
    try {
      makeFolders(dirname(path));
      replaceFile(path, unit, { mode: 0o644 });
    } catch (cause) {
      const reason = writeProblem(cause);
      throw new TsvmError('file-unreadable', `${path} cannot be written (${reason})`, { cause });
    }
    writeLine(path);
    const user = isRoot ? [] : ['--user'];
    for (const words of [['daemon-reload'], ['enable', UNIT]]) {
      const { status } = spawnSync('systemctl', [...user, ...words], { stdio: 'ignore' });
      if (status === 0) continue;
      const command = ['systemctl', ...user].join(' ');
      printMessage(
        `tsvm: systemd does not answer: run "${command} daemon-reload" and "${command} enable ${UNIT}"\n`,
      );
      return 1;
    }
    return 0;
  },
};

function unitText(isRoot: boolean): string {
  const tsvm = join(packageRoot(), 'bin/tsvm');
  return `[Unit]
Description=Containers of tsvm with restart policies
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=${tsvm} system start-containers
# The processes that run containers get SIGTERM, and stop them.
KillMode=control-group
TimeoutStopSec=60

[Install]
WantedBy=${isRoot ? 'multi-user.target' : 'default.target'}
`;
}

export const startContainersVerb: Verb = {
  usage: 'start-containers',
  argumentsMin: 0,
  argumentsMax: 0,
  help: `
Starts containers as their restart policies say after a reboot: those with always, and those with
unless-stopped that were not stopped.

Examples:
  tsvm system start-containers`,
  addOptions: (command) => command,
  run: async () => {
    const store = openContainers();
    let code = 0;
    for (const container of (await store.list()).filter(startsAtBoot)) {
      const { id, name } = container.config;
      try {
        await startContainer(store, id);
        writeLine(name);
      } catch (error) {
        if (!(error instanceof TsvmError)) throw error;
        printMessage(`tsvm: ${name}: ${errorText(error)}\n`);
        code = 1;
      }
    }
    return code;
  },
};

function startsAtBoot({ config, state }: Container): boolean {
  if (isActive(state) || state.startedMs === 0) return false;
  const { name } = config.restart;
  return name === 'always' || (name === 'unless-stopped' && !state.stoppedByUser);
}
