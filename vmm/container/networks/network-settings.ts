/** The networks and ports of a container as they are stored with it: plain JSON, checked. */

/** Where on the host a port of the container is published. */
export interface PortBinding {
  /** An address of the host; empty: loopback, IPv4 and IPv6. */
  readonly hostAddress: string;
  /** A port, a range such as `8000-8010` to choose from, or empty: any that is free. */
  readonly hostPort: string;
}

/** How a container is attached to a network of `tsvm network create`. */
export interface EndpointSettings {
  /** Name or ID, as given. */
  readonly network: string;
  readonly aliases: readonly string[];
  readonly ip?: string | undefined;
  readonly ip6?: string | undefined;
  readonly mac?: string | undefined;
}

export type NetworkMode =
  /** User-mode networking: the outside, and published ports. */
  | 'default'
  | 'none'
  /** Networks of `tsvm network create`; they also give the outside. */
  | 'user-defined';

export interface NetworkSettings {
  readonly mode: NetworkMode;
  /** Docker's `NetworkMode`: as given, such as `bridge`, or the first network's name. */
  readonly dockerMode: string;
  readonly endpoints: readonly EndpointSettings[];
  /** Of the default network's interface. */
  readonly mac?: string | undefined;
  /** `80/tcp` → where it is published. */
  readonly ports: Readonly<Record<string, readonly PortBinding[]>>;
  /** Every exposed port is published, on any free port. */
  readonly publishAll: boolean;
  /** `80/tcp`, ..., sorted: published ones, those of `--expose`, and the image's. */
  readonly exposed: readonly string[];
  readonly dns: readonly string[];
  readonly dnsSearch: readonly string[];
  readonly dnsOptions: readonly string[];
  /** `NAME:ADDRESS`, or `NAME:host-gateway`. */
  readonly extraHosts: readonly string[];
}
