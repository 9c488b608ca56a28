/** The one place where containers meet networks: `--network`, `-p`, `--dns`, `--add-host`, ... */
import type { ContainerConfig } from '../containers/container-config.ts';
import type { MachinePart } from '../containers/machine-part.ts';
import type { NetworkSettings } from './network-settings.ts';

/** The command line's options that concern networks, as they were given. */
export interface NetworkOptions {
  readonly networks: readonly string[];
  readonly aliases: readonly string[];
  readonly ip?: string | undefined;
  readonly ip6?: string | undefined;
  readonly macAddress?: string | undefined;
  readonly publish: readonly string[];
  readonly publishAll: boolean;
  readonly expose: readonly string[];
  readonly dns: readonly string[];
  readonly dnsSearch: readonly string[];
  readonly dnsOptions: readonly string[];
  readonly addHosts: readonly string[];
  /** `ExposedPorts` of the image: `80/tcp`, ... */
  readonly imagePorts: readonly string[];
}

/** @throws TsvmError `invalid-config` with Docker's message */
export function resolveNetwork(_options: NetworkOptions): NetworkSettings {
  return {};
}

/** Prepares the networks and published ports of a container that starts. */
export async function prepareNetworks({ hostname }: ContainerConfig): Promise<MachinePart> {
  return {
    hosts: `127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\t${hostname}\n`,
    resolvConf: '',
  };
}

/** The `PORTS` column of `ps`. @param facts {@link MachinePart.facts} of a container that runs */
export function portsText(
  _settings: NetworkSettings,
  _facts: Readonly<Record<string, unknown>>,
): string {
  return '';
}
