import type { Volume } from '../disk-source.ts';

/** Features without which a reader must not go on: what they are, and whether ours has them. */
export type Features = readonly (readonly [bit: number, name: string, isSupported: boolean])[];

/** @throws TsvmError `invalid-disk` for a feature that is unknown or not supported, with its name */
export function checkFeatures(
  volume: Volume,
  fileSystem: string,
  features: Features,
  present: number,
): void {
  for (let bit = 1; bit !== 0; bit = (bit << 1) >>> 0) {
    if ((present & bit) === 0) continue;
    const [, name, isSupported] = features.find(([known]) => known === bit) ?? [];
    if (isSupported === true) continue;
    throw volume.invalid(
      `${fileSystem} with the feature ${name ?? `0x${bit.toString(16)}`}, which tsvm does not read`,
    );
  }
}
