/** Content on a disk: a file, or a section of one. */
export interface DiskFile {
  /** For messages: `partition 2: /boot/vmlinuz`. */
  readonly place: string;
  readonly sizeBytes: number;
  /** The same for the same file, whatever path or link leads to it. */
  readonly identity: unknown;
  /** The range is inside. @throws TsvmError `invalid-disk` */
  read(offset: number, length: number): Uint8Array;
}

/** Something that a boot loader would offer to boot. */
export interface BootEntry {
  /** How the boot loader's own settings refer to it: a file's name or GRUB's `--id`; else the title. */
  readonly id: string;
  readonly title: string;
  readonly kernel: DiskFile;
  /** Loaded one after the other. */
  readonly initrds: readonly DiskFile[];
  readonly commandLine: string;
}

/** What one boot loader offers, in its order. */
export interface BootMenu {
  /** For messages: `GRUB (partition 1: /boot/grub/grub.cfg)`. */
  readonly loader: string;
  readonly entries: readonly BootEntry[];
  /** The entries are kernels that were found by their names; their command lines are guesses. */
  readonly isGuess?: true;
  /** Index of the entry that it boots without a choice. */
  readonly defaultIndex: number;
}
