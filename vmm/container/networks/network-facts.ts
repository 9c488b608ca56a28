import type { PublishedPort } from './published-ports.ts';

/** What is known of a container's networks while it runs: `MachinePart.facts`. */
export interface NetworkFacts {
  readonly ports: readonly PublishedPort[];
  readonly interfaces: readonly InterfaceFacts[];
}

/** An interface of a running container. */
export interface InterfaceFacts {
  /** Name of the network; `bridge` for the default one, as Docker calls it. */
  readonly network: string;
  readonly networkId: string;
  readonly address: string;
  readonly prefixLength: number;
  readonly gateway: string;
  readonly mac: string;
  readonly aliases: readonly string[];
}
