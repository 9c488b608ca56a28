/** The mounts of a container as they are stored with it: plain JSON, resolved. */

export const PROPAGATIONS = [
  ...(['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave'] as const),
];
export type Propagation = (typeof PROPAGATIONS)[number];

/** Where a mount was asked for. */
export type MountOrigin =
  /** `-v`: the text as it was given, with an absolute path of the host. */
  | { readonly option: 'volume'; readonly text: string }
  | { readonly option: 'mount' }
  | { readonly option: 'tmpfs' }
  | { readonly option: 'volumes-from'; readonly container: string }
  /** A `VOLUME` of the image. */
  | { readonly option: 'image' };

interface CommonSpec {
  readonly origin: MountOrigin;
  /** Absolute path in the container, without `..`, `.` and doubled slashes. */
  readonly destination: string;
  readonly readOnly: boolean;
  /** The mode of `-v` as given: `ro`, `z`, `nocopy`, ... Docker shows it in `inspect`. */
  readonly mode: string;
}

/** A file, folder or unix socket of the host. */
export interface BindSpec extends CommonSpec {
  readonly type: 'bind';
  /** Absolute path on the host. */
  readonly source: string;
  /** Recorded only: mounts of the host appear in the guest when they are made below `source`. */
  readonly propagation: Propagation;
  /** Make a folder at `source` if nothing is there, as `-v` does and `--mount` does not. */
  readonly createSource: boolean;
}

/** A volume of the store. */
export interface VolumeSpec extends CommonSpec {
  readonly type: 'volume';
  readonly name: string;
  /** It got its name by tsvm, and is removed with the container by `--rm` and `rm -v`. */
  readonly anonymous: boolean;
  /** Filled from the image while it is empty. */
  readonly copyUp: boolean;
  /** Relative path in the volume of what is mounted; empty: all of it. */
  readonly subpath: string;
}

/** Memory of the container. */
export interface TmpfsSpec extends CommonSpec {
  readonly type: 'tmpfs';
  /** As Docker writes it: `size=64m,mode=700,exec`. */
  readonly options: string;
}

export type MountSpec = BindSpec | VolumeSpec | TmpfsSpec;
