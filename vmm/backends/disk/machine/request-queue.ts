import type { ScriptRequest } from './disk.ts';

/** A request that has not been answered. */
export interface PendingRequest {
  readonly request: ScriptRequest;
  /** To be called when it was retried or finished. */
  done(): void;
  /** To be called when it failed; the guest is told. */
  fail(error: unknown): void;
}

/** `clear` is discard and write-zeroes. */
type GroupKind = 'read' | 'write' | 'flush' | 'clear';

/**
 * Serves requests of one kind that arrived in a row. Returns undefined when no other request has to
 * wait for them; otherwise the others wait for the promise, which never rejects.
 */
type ServeGroup = (group: readonly PendingRequest[]) => Promise<void> | undefined;

/**
 * Orders a disk's script requests by arrival. Requests that arrive together are served in groups.
 * Reads run concurrently; any other group that takes time has the image to itself.
 */
export class RequestQueue {
  readonly #serve: Readonly<Record<GroupKind, ServeGroup>>;
  #waiting: PendingRequest[] = [];
  #scheduled = false;
  #readsInFlight = 0;
  #changeInFlight = false;

  constructor(serve: Readonly<Record<GroupKind, ServeGroup>>) {
    this.#serve = serve;
  }

  /** Resolves when the request was answered. */
  add(request: ScriptRequest): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.push({ request, done: resolve, fail: reject });
    if (!this.#scheduled) {
      this.#scheduled = true;
      // After the caller has added the whole batch.
      queueMicrotask(() => {
        this.#scheduled = false;
        this.#advance();
      });
    }
    return promise;
  }

  #advance(): void {
    for (;;) {
      const [first] = this.#waiting;
      if (first === undefined || this.#changeInFlight) return;
      const kind = kindOf(first);
      if (kind !== 'read' && this.#readsInFlight > 0) return;
      this.#begin(kind, this.#takeGroup(kind));
    }
  }

  #takeGroup(kind: GroupKind): readonly PendingRequest[] {
    const end = this.#waiting.findIndex((pending) => kindOf(pending) !== kind);
    return this.#waiting.splice(0, end === -1 ? this.#waiting.length : end);
  }

  #begin(kind: GroupKind, group: readonly PendingRequest[]): void {
    const served = this.#serve[kind](group);
    if (served === undefined) return;
    if (kind === 'read') this.#readsInFlight++;
    else this.#changeInFlight = true;
    served.then(() => {
      if (kind === 'read') this.#readsInFlight--;
      else this.#changeInFlight = false;
      this.#advance();
    });
  }
}

function kindOf({ request: { op } }: PendingRequest): GroupKind {
  return op === 'discard' || op === 'write-zeroes' ? 'clear' : op;
}
