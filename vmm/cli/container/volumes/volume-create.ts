import { checkVolumeDriver } from '../../../container/volumes/container-volumes.ts';
import { anonymousVolumeName } from '../../../container/volumes/volume-name.ts';
import { openVolumeStore } from '../../../container/volumes/volume-store.ts';
import { keyValues } from '../create/option-kinds.ts';
import { text, texts } from '../option-values.ts';
import { collect, type Verb, writeLine } from '../verb.ts';

export const volumeCreateVerb: Verb = {
  usage: 'create [OPTIONS] [VOLUME]',
  argumentsMin: 0,
  argumentsMax: 1,
  help: `
A volume is a folder of this host that containers share. Of the driver's options, those of a bind are
supported.

Examples:
  tsvm volume create data
  tsvm volume create --label project=web data
  tsvm volume create -o type=none -o o=bind -o device=/srv/data data`,
  addOptions: (command) =>
    command
      .option('-d, --driver <driver>', 'only local', 'local')
      .option('--label <label>', 'set a label: KEY[=VALUE]', collect)
      .option('-o, --opt <option>', 'set an option of the driver: NAME=VALUE', collect),
  run: async ([given], options) => {
    const name = given ?? anonymousVolumeName();
    checkVolumeDriver(name, text(options, 'driver') ?? 'local');
    const volume = openVolumeStore().create({
      name,
      anonymous: given === undefined,
      labels: keyValues(texts(options, 'label')),
      options: keyValues(texts(options, 'opt')),
    });
    writeLine(volume.name);
    return 0;
  },
};
