import type { ScriptRequest } from './disk.ts';

/** A request that waits to be answered. */
export interface PendingRequest {
  readonly request: ScriptRequest;
  /** It was retried or finished. */
  done(): void;
  /** It failed, and the guest has to be told. */
  fail(error: unknown): void;
}

/** `clear` is discard and write-zeroes. */
type GroupKind = 'read' | 'write' | 'flush' | 'clear';

/**
 * Serves requests of one kind that arrived one after the other. Undefined: nothing has to wait for
 * them. Else others wait for the promise, which never rejects.
 */
type ServeGroup = (group: readonly PendingRequest[]) => Promise<void> | undefined;

/**
 * The order of a disk's script requests: that of their arrival. Those that arrive together are
 * served in groups. Reads go on side by side; another group that takes its time has the image to
 * itself.
 */
export class RequestQueue {
  readonly #serve: Readonly<Record<GroupKind, ServeGroup>>;
  #waiting: PendingRequest[] = [];
  #scheduled = false;
  #readsUnderWay = 0;
  #changeUnderWay = false;

  constructor(serve: Readonly<Record<GroupKind, ServeGroup>>) {
    this.#serve = serve;
  }

  /** Resolves when the request was answered. */
  add(request: ScriptRequest): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.push({ request, done: resolve, fail: reject });
    if (!this.#scheduled) {
      this.#scheduled = true;
      // Behind the call that adds the whole batch.
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
      if (first === undefined || this.#changeUnderWay) return;
      const kind = kindOf(first);
      if (kind !== 'read' && this.#readsUnderWay > 0) return;
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
    if (kind === 'read') this.#readsUnderWay++;
    else this.#changeUnderWay = true;
    served.then(() => {
      if (kind === 'read') this.#readsUnderWay--;
      else this.#changeUnderWay = false;
      this.#advance();
    });
  }
}

function kindOf({ request: { op } }: PendingRequest): GroupKind {
  return op === 'discard' || op === 'write-zeroes' ? 'clear' : op;
}
