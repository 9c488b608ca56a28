/** The networks and ports of a container as they are stored with it: plain JSON. */
export type NetworkSettings = Readonly<Record<string, unknown>>;
