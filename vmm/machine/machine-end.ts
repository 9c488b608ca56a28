/** Why a machine has stopped. */
export type MachineEnd =
  | { readonly reason: 'poweroff' }
  /** The guest asked for a reset. */
  | { readonly reason: 'reset' }
  /** The guest's kernel reported a panic. */
  | { readonly reason: 'panic' }
  /** A vCPU could not deliver a double fault. */
  | { readonly reason: 'triple-fault' }
  /** The host stopped it. */
  | { readonly reason: 'stopped' }
  /** A vCPU, a device or its host side failed, because of tsvm or the host. */
  | { readonly reason: 'failed'; readonly message: string };
