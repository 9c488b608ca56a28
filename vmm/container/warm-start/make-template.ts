import { chmodSync, copyFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { TsvmError } from '../../errors.ts';
import { draftName } from '../../host/drafts.ts';
import { bootAssembly } from '../../machine/boot-machine.ts';
import type { MachineConfig } from '../../machine/config.ts';
import { saveMachine } from '../../machine/saved-machine.ts';
import { connectAgent } from '../agent/connect-agent.ts';
import { PLACEHOLDER_BYTES } from '../agent/protocol.ts';
import { type EmptyLayer, type TemplateShape, templateOf } from './machine-shape.ts';
import { layerPath, type MachineTemplates } from './machine-templates.ts';

/**
 * What the kernel does later, it does once: what it frees after the rehearsal, and what it looks through
 * a second after its boot.
 */
const SETTLING_MS = 2_000;
/** Nobody waits for it, and the host may be busy. */
const PATIENCE_MS = 600_000;

/**
 * Boots a machine to the point where its agent waits for a container, and saves it.
 * @throws TsvmError, AgentError
 */
export async function makeTemplate(
  shape: TemplateShape,
  templates: MachineTemplates,
): Promise<void> {
  await templates.make(shape, async (folder) => {
    const placeholder = join(folder, 'placeholder');
    writeFileSync(placeholder, new Uint8Array(PLACEHOLDER_BYTES), { mode: 0o600 });
    const layer = shape.emptyLayer && draftOf(shape.emptyLayer);
    try {
      await saveNew(templateOf(shape, placeholder, layer), folder);
      // The machine is closed: all that its guest has written is in the image.
      if (layer !== undefined) {
        copyFileSync(layer, layerPath(folder));
        chmodSync(layerPath(folder), 0o600);
      }
    } finally {
      if (layer !== undefined) rmSync(layer, { force: true });
    }
  });
}

/** A copy of an empty layer, where it finds its backing file. */
function draftOf({ imagePath }: EmptyLayer): string {
  const path = join(dirname(imagePath), draftName());
  copyFileSync(imagePath, path);
  return path;
}

async function saveNew(config: MachineConfig, folder: string): Promise<void> {
  const assembly = await bootAssembly(config, {});
  const { machine } = assembly;
  try {
    const { vsock } = machine;
    if (vsock === undefined) throw new Error('the machine has no vsock device');
    const waiting = new AbortController();
    machine.ended.then(() => waiting.abort(new TsvmError('container-failed', 'its machine ended')));
    const signal = AbortSignal.any([waiting.signal, AbortSignal.timeout(PATIENCE_MS)]);
    const connected = connectAgent(vsock, { signal });
    machine.start();
    const agent = await connected;
    await agent.prepare();
    await sleep(SETTLING_MS);
    await machine.pause();
    await saveMachine(assembly, folder);
  } finally {
    await machine.close();
  }
}
