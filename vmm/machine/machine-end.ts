/** Why a machine has stopped. */
export type MachineEnd =
  | { readonly reason: 'poweroff' }
  /** The guest asked for a reset. */
  | { readonly reason: 'reset' }
  /** The guest's kernel reported a panic. */
  | { readonly reason: 'panic' }
  /** A vCPU could not even deliver its double fault. */
  | { readonly reason: 'triple-fault' }
  /** The host stopped it. */
  | { readonly reason: 'stopped' }
  /** A vCPU cannot go on, or a device or its host side failed: tsvm's fault or the host's. */
  | { readonly reason: 'failed'; readonly message: string };
