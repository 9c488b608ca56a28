import type { DiskImage } from '../image.ts';
import { chainRuns, FileHoles, hasBytes } from './chain-map.ts';

/** Bound of the steps that are joined: more would take long while a signal waits. */
const JOINED_MAX = 64;

/**
 * What happens to a part of the target:
 * - `copy`: the source's bytes are written
 * - `zero`: it must read as zeroes
 * - `leave`: the target, or its backing image, has the content already.
 */
export type CopyAction = 'copy' | 'zero' | 'leave';

export interface CopyStep {
  readonly action: CopyAction;
  readonly offset: number;
  readonly length: number;
}

export interface CopyPlanOptions {
  /** Bytes, a power of two: no unit of the target is divided between steps. */
  readonly unitBytes: number;
  /** Bytes, a multiple of the unit: longer copies are divided. */
  readonly chunkBytes: number;
  /** Copy holes too. */
  readonly copyHoles: boolean;
  /** What no layer above `base` has stays as the target has it. */
  readonly leaveUnallocated: boolean;
  /** A layer of the sources' chain; by default each source's own backing image. */
  readonly base?: DiskImage | undefined;
}

/**
 * The steps that make a target of the sources, one after the other. A unit that contains several
 * kinds is copied.
 */
export function* copyPlan(
  sources: readonly DiskImage[],
  options: CopyPlanOptions,
): Generator<CopyStep, void, undefined> {
  const { chunkBytes } = options;
  const inOneChunk = (_: CopyStep, next: CopyStep): boolean =>
    next.action !== 'copy' || next.offset % chunkBytes !== 0;
  yield* joined(divided(wholeUnits(sources, options), chunkBytes), inOneChunk);
}

function* divided(
  steps: Iterable<CopyStep>,
  chunkBytes: number,
): Generator<CopyStep, void, undefined> {
  for (const step of steps) {
    const end = step.offset + step.length;
    for (let at = step.offset; at < end; ) {
      const chunkEnd = (Math.floor(at / chunkBytes) + 1) * chunkBytes;
      const stop = step.action === 'copy' ? Math.min(end, chunkEnd) : end;
      yield { action: step.action, offset: at, length: stop - at };
      at = stop;
    }
  }
}

function* wholeUnits(
  sources: readonly DiskImage[],
  options: CopyPlanOptions,
): Generator<CopyStep, void, undefined> {
  const { chunkBytes, unitBytes } = options;
  // A source of many short runs is not scanned to its end before work begins.
  const isShort = (last: CopyStep): boolean => last.length < chunkBytes;
  const total = sources.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const floor = (offset: number): number =>
    offset === total ? total : Math.floor(offset / unitBytes) * unitBytes;
  const ceil = (offset: number): number =>
    Math.min(Math.ceil(offset / unitBytes) * unitBytes, total);
  /** Everything before it is planned. */
  let at = 0;
  for (const { action, offset, length } of joined(sourceSteps(sources, options), isShort)) {
    const end = offset + length;
    const until = action === 'copy' ? ceil(end) : floor(end);
    const ragged = action === 'copy' ? at : Math.min(ceil(offset), total);
    if (ragged > at) {
      yield { action: 'copy', offset: at, length: ragged - at };
      at = ragged;
    }
    if (until > at) {
      yield { action, offset: at, length: until - at };
      at = until;
    }
  }
}

/** Runs of the sources, not aligned to units. */
function* sourceSteps(
  sources: readonly DiskImage[],
  { copyHoles, leaveUnallocated, base }: CopyPlanOptions,
): Generator<CopyStep, void, undefined> {
  let start = 0;
  const holes = new FileHoles();
  for (const source of sources) {
    const { sizeBytes } = source;
    if (copyHoles) {
      yield { action: 'copy', offset: start, length: sizeBytes };
    } else {
      const stop = leaveUnallocated ? (base ?? source.backing) : undefined;
      for (const run of chainRuns(source, 0, sizeBytes, stop)) {
        const other = run.kind === 'unallocated' && leaveUnallocated ? 'leave' : 'zero';
        for (const { offset, length, isHole } of holes.partsOf(run)) {
          const action = hasBytes(run.kind) && !isHole ? 'copy' : other;
          yield { action, offset: start + offset, length };
        }
      }
    }
    start += sizeBytes;
  }
}

/** Joins adjoining steps that do the same, where possible. */
function* joined(
  steps: Iterable<CopyStep>,
  mayJoin: (last: CopyStep, next: CopyStep) => boolean,
): Generator<CopyStep, void, undefined> {
  let last: CopyStep | undefined;
  let count = 0;
  for (const step of steps) {
    if (last?.action === step.action && count < JOINED_MAX && mayJoin(last, step)) {
      last = { ...last, length: last.length + step.length };
      count++;
      continue;
    }
    if (last !== undefined) yield last;
    last = step;
    count = 1;
  }
  if (last !== undefined) yield last;
}
