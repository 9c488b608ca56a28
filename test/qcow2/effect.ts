import type { DiskModel } from './disk-model.ts';
import type { ImageOptions } from './image-recipe.ts';
import type { Operation } from './operations.ts';
import type { Patterns } from './patterns.ts';

/** Applies the effect of an operation to a model. */
export function applyToModel(
  model: DiskModel,
  operation: Operation,
  image: ImageOptions,
  hasBacking: boolean,
  patterns: Patterns,
): void {
  switch (operation.kind) {
    case 'write':
      model.write(operation.offset, patterns.bytes(operation.pattern, operation.length));
      break;
    case 'burst':
      for (const { offset, length, pattern } of operation.writes) {
        model.write(offset, patterns.bytes(pattern, length));
      }
      break;
    case 'compressed': {
      const clusterBytes = 2 ** image.clusterBits;
      for (let done = 0; done < operation.length; done += clusterBytes) {
        const length = Math.min(clusterBytes, operation.length - done);
        model.write(operation.offset + done, patterns.bytes(operation.pattern, length));
      }
      break;
    }
    case 'zeroes':
      model.zero(operation.offset, operation.length);
      break;
    case 'discard':
      discard(model, operation.offset, operation.length, image, hasBacking);
      break;
    case 'resize':
      model.resize(operation.sizeBytes);
      break;
    case 'create-snapshot':
      model.createSnapshot(operation.name);
      break;
    case 'apply-snapshot':
      model.applySnapshot(operation.name);
      break;
    case 'delete-snapshot':
      model.deleteSnapshot(operation.name);
      break;
    case 'read':
    case 'flush':
    case 'reopen':
      break;
  }
}

/** Like QEMU: whole clusters only, where the image's last one always counts as whole. */
function discard(
  model: DiskModel,
  offset: number,
  length: number,
  image: ImageOptions,
  hasBacking: boolean,
): void {
  // Version 2 has no zero clusters, and without a cluster the backing image would show.
  if (image.version === 2 && hasBacking) return;
  const clusterBytes = 2 ** image.clusterBits;
  const start = Math.ceil(offset / clusterBytes) * clusterBytes;
  const end = offset + length;
  const wholeEnd = end === model.sizeBytes ? end : end - (end % clusterBytes);
  if (start < wholeEnd) model.zero(start, wholeEnd - start);
}
