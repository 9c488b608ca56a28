import type { PullProgress } from '../../container/pull.ts';
import type { Reference } from '../../container/reference.ts';
import type { LayerLines } from './layer-lines.ts';
import { humanSize } from './units.ts';

/** A pull's progress in Docker's words. */
export function pullLines(lines: LayerLines, reference: Reference): PullProgress {
  return {
    layers: (digests) => {
      const { path, tag, digest } = reference;
      lines.print(`${digest ?? tag}: Pulling from ${path}`);
      for (const layer of digests) lines.state(layer, 'Pulling fs layer');
    },
    layer: (digest, step) => {
      switch (step.step) {
        case 'waiting':
          return lines.state(digest, 'Waiting');
        case 'present':
          return lines.state(digest, 'Already exists');
        case 'downloaded':
          return lines.state(digest, 'Download complete');
        case 'complete':
          return lines.state(digest, 'Pull complete');
        case 'downloading': {
          const { bytes, totalBytes } = step;
          const sizes = `${humanSize(bytes)}/${humanSize(totalBytes)}`;
          return lines.bar(digest, 'Downloading', bytes, totalBytes, sizes);
        }
      }
    },
  };
}
