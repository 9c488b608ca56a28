import { openVolumeStore, type VolumeStore } from '../../../container/volumes/volume-store.ts';
import { inspectObjects } from '../object-details.ts';
import { text } from '../option-values.ts';
import { NIL_MAP } from '../template/values.ts';
import { rfc3339 } from '../units.ts';
import type { Verb } from '../verb.ts';

export const volumeInspectVerb: Verb = {
  usage: 'inspect [OPTIONS] VOLUME [VOLUME...]',
  argumentsMin: 1,
  argumentsMax: Number.POSITIVE_INFINITY,
  help: `
Examples:
  tsvm volume inspect data
  tsvm volume inspect -f '{{.Mountpoint}}' data`,
  addOptions: (command) => command.option('-f, --format <format>', 'json or a Go template'),
  run: async (names, options) => {
    const store = openVolumeStore();
    return inspectObjects(names, text(options, 'format') ?? '', (name) =>
      volumeDetails(store, name),
    );
  },
};

/** Docker's fields. @throws TsvmError `volume-not-found` */
export function volumeDetails(store: VolumeStore, name: string): object {
  const volume = store.find(name);
  const { createdMs, labels, options } = volume;
  const isEmpty = (record: object) => Object.keys(record).length === 0;
  return {
    CreatedAt: rfc3339(createdMs),
    Driver: 'local',
    Labels: isEmpty(labels) ? NIL_MAP : labels,
    Mountpoint: store.dataPath(volume),
    Name: volume.name,
    Options: isEmpty(options) ? NIL_MAP : options,
    Scope: 'local',
  };
}
