/**
 * Networks that come and go on a machine without PCI. Its tables describe windows of virtio-mmio without a
 * device: a placeholder (virtio 1.2, section 4.2.2), which a kernel leaves alone when it boots. Nothing tells
 * the kernel that a window has a device now: a program in the guest binds the driver to it again.
 */
import { errorText, TsvmError } from '../../errors.ts';
import type { Assembly } from '../assembly.ts';
import { freeId } from '../device-ids.ts';
import { DeviceScope } from '../device-scope.ts';
import type { SpareWindowControls } from '../machine-controls.ts';
import { type NetConfig, resolveNet } from '../net-config.ts';
import { type MmioPlacement, placed } from '../placement.ts';
import { MmioWindow } from './mmio-window.ts';

export function attachSpareWindows(assembly: Assembly): void {
  const { config, machine, mmioWindows, placements } = assembly;
  const spare = placements.allocateSpareWindows(config.spareWindows);
  for (const placement of spare) mmioWindows.set(placement, new MmioWindow(assembly, placement));
  machine.controls.spareWindows = new SpareWindows(assembly, spare);
}

class SpareWindows implements SpareWindowControls {
  readonly #assembly: Assembly;
  readonly #free: MmioPlacement[];
  readonly #adding = new Set<string>();

  constructor(assembly: Assembly, free: readonly MmioPlacement[]) {
    this.#assembly = assembly;
    this.#free = [...free];
  }

  async addNet(config: NetConfig): Promise<string> {
    const { host, machine, windowNets } = this.#assembly;
    const net = resolveNet(config);
    const has = (each: string) => this.#adding.has(each) || windowNets.has(each);
    const id = freeId('net', { has });
    const placement = this.#free.shift();
    if (placement === undefined) {
      throw new TsvmError(
        'resource-exhausted',
        'the machine has no place for another network until one is removed',
      );
    }
    const scope = new DeviceScope(machine);
    this.#adding.add(id);
    try {
      const { attachNet } = await import('./nets.ts');
      await attachNet(this.#assembly, placed(net, id, placement), { placement, scope });
      if (machine.state === 'stopped') throw new TsvmError('wrong-state', 'the machine has ended');
      return id;
    } catch (error) {
      machine.controls.nets.delete(id);
      windowNets.delete(id);
      await scope.close().catch((failure: unknown) => host.logger.error(errorText(failure)));
      this.#free.push(placement);
      throw error;
    } finally {
      this.#adding.delete(id);
    }
  }

  async removeNet(id: string): Promise<void> {
    const { machine, windowNets } = this.#assembly;
    const net = windowNets.get(id);
    if (net === undefined) throw new TsvmError('wrong-state', `the machine has no ${id}`);
    windowNets.delete(id);
    machine.controls.nets.delete(id);
    await net.close();
    this.#free.push(net.placement);
  }
}
