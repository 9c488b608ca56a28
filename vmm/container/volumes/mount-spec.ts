/** A mount as it is stored with a container: plain JSON. */
export type MountSpec = Readonly<Record<string, unknown>>;
