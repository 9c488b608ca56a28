/** Flags about mounts, ports and networks mean what Docker's client makes of them. */
import assert from 'node:assert/strict';
import { realpathSync } from 'node:fs';
import { test } from 'node:test';
import {
  type NetworkOptions,
  resolveNetwork,
} from '../../vmm/container/networks/container-networks.ts';
import { parseMountFlag } from '../../vmm/container/volumes/mount-flag.ts';
import type { MountSpec } from '../../vmm/container/volumes/mount-spec.ts';
import { parseTmpfsOptions } from '../../vmm/container/volumes/tmpfs-options.ts';
import { parseVolumeFlag } from '../../vmm/container/volumes/volume-flag.ts';
import { TsvmError } from '../../vmm/errors.ts';
import { type CreateRequest, type DockerMount, dockerClient } from '../support/docker-client.ts';
import { temporaryFolder } from '../support/tsvm-process.ts';

const NO_OPTIONS: NetworkOptions = {
  networks: [],
  aliases: [],
  publish: [],
  publishAll: false,
  expose: [],
  dns: [],
  dnsSearch: [],
  dnsOptions: [],
  addHosts: [],
};

/** What we make of it, or the message that says why not. */
function ours<T>(parse: () => T): { value: T } | { message: string; code: string } {
  try {
    return { value: parse() };
  } catch (error) {
    if (!(error instanceof TsvmError)) throw error;
    return { message: error.message, code: error.code };
  }
}

const VOLUMES = [
  ...['/a:/b', '/a:/b:ro', './x:/b', '..:/b', '.:/b', 'x2:/b:nocopy', '/b', '/a:/b:ro,z,rslave'],
  ...[':/b', '/a::ro', '/a:/b:ro:x', '', 'data:/b', '/a b:/c d', 'data:/b:ro', '/a:/b:rw,Z'],
];

test('-v is read as by docker', async (t) => {
  const folder = realpathSync(temporaryFolder(t));
  const docker = await dockerClient(t, folder);
  if (docker === undefined) return;
  for (const text of VOLUMES) {
    const theirs = await docker.create(['-v', text]);
    const mine = ours(() => parseVolumeFlag(text, folder));
    if ('message' in theirs) {
      assert.deepEqual(mine, { message: theirs.message, code: 'invalid-config' }, text);
      continue;
    }
    assert.ok('value' in mine, `${text}: ${JSON.stringify(mine)}`);
    const { value } = mine;
    const { Volumes = {}, HostConfig }: CreateRequest = theirs.request;
    if (value.type === 'anonymous') {
      assert.deepEqual(Object.keys(Volumes), [value.destination], text);
    } else {
      assert.ok(value.origin.option === 'volume');
      assert.deepEqual(HostConfig.Binds, [value.origin.text], text);
    }
  }
});

const MOUNTS = [
  ...['type=bind,src=/a,dst=/b,ro', 'type=bind,src=./a,dst=/b', 'type=bind,src=/a,dst=/b,ro=1'],
  ...[
    'type=bind,src=/a,dst=/b,readonly=x',
    'src=v2',
    '',
    'dst=/b,',
    'dst=/b,foo',
    'dst=/b,foo=bar',
  ],
  'type=volume,src=v2,target=/b,volume-nocopy,volume-label=a=b,volume-label=c',
  ...['type=volume,src=v2,dst=/b,volume-subpath=a/b', 'type=volume,src=v2,dst=/b,volume-nocopy=2'],
  ...['type=tmpfs,dst=/b,tmpfs-size=1m,tmpfs-mode=0700', 'type=tmpfs,dst=/b,tmpfs-size=1.5g'],
  ...['type=tmpfs,dst=/b,tmpfs-size=zz', 'type=tmpfs,dst=/b,tmpfs-mode=9'],
  ...['type=bind,dst=/b,volume-nocopy', 'dst=/b,bind-nonrecursive', 'type=,dst=/b'],
  'type=bind,src=/a,dst=/b,bind-propagation=rslave',
  ...['readonly', 'readonly,ro', 'writable', 'x'].map(
    (value) => `type=bind,src=/a,dst=/b,bind-recursive=${value}`,
  ),
  ...[
    'type=bind,"src=/a,b",dst=/b',
    'type=bind,src="/a",dst=/b',
    '"type=bind"x,src=/a',
    '"type=bind',
  ],
  ...['type=BIND,source=/a,Destination=/b', 'type=tmpfs,dst=/b,bind-propagation=x'],
];

function asDockerMount(spec: MountSpec, labels: Readonly<Record<string, string>>): DockerMount {
  const common = { Target: spec.destination, ...(spec.readOnly && { ReadOnly: true }) };
  switch (spec.type) {
    case 'bind': {
      const { propagation, source } = spec;
      const options = propagation !== 'rprivate' && { BindOptions: { Propagation: propagation } };
      return { Type: 'bind', Source: source, ...common, ...options };
    }
    case 'volume': {
      const options = {
        ...(!spec.copyUp && { NoCopy: true }),
        ...(spec.subpath !== '' && { Subpath: spec.subpath }),
        ...(Object.keys(labels).length > 0 && { Labels: labels }),
      };
      const isPlain = Object.keys(options).length === 0;
      return {
        Type: 'volume',
        Source: spec.name,
        ...common,
        ...(!isPlain && { VolumeOptions: options }),
      };
    }
    case 'tmpfs': {
      const { mode, sizeBytes } = parseTmpfsOptions(spec.options);
      const options = {
        ...(sizeBytes !== undefined && { SizeBytes: sizeBytes }),
        ...(mode !== undefined && { Mode: mode }),
      };
      return { Type: 'tmpfs', ...common, TmpfsOptions: options };
    }
  }
}

test('--mount is read as by docker', async (t) => {
  const folder = realpathSync(temporaryFolder(t));
  const docker = await dockerClient(t, folder);
  if (docker === undefined) return;
  for (const text of MOUNTS) {
    const theirs = await docker.create(['--mount', text]);
    const mine = ours(() => parseMountFlag(text, folder));
    if ('message' in theirs) {
      assert.deepEqual(mine, { message: theirs.message, code: 'invalid-config' }, text);
      continue;
    }
    assert.ok('value' in mine, `${text}: ${JSON.stringify(mine)}`);
    const { spec, volume } = mine.value;
    const { HostConfig }: CreateRequest = theirs.request;
    const expected: DockerMount | undefined = HostConfig.Mounts?.[0];
    // Docker's client also sends what says nothing.
    const { DriverConfig: _, ...volumeOptions } = (expected?.VolumeOptions ?? {}) as Record<
      string,
      unknown
    >;
    const plain: object = {
      ...expected,
      ...(expected?.VolumeOptions !== undefined && { VolumeOptions: volumeOptions }),
    };
    assert.deepEqual(asDockerMount(spec, volume?.labels ?? {}), plain, text);
  }
});

const PORTS: readonly (readonly string[])[] = [
  ...['8080:80', '80', '127.0.0.1:8080:80/udp', '127.0.0.1::80', '[::1]:8080:80', '::1:8080:80'],
  ...['8080-8082:80-82', '8080-8082:80', '80-82', '8080-8081:80-82', 'x:80', '80:x', '8080:', ''],
  ...['99999:80', '300.1.1.1:1:2', 'localhost:1:2', '8080:80/foo', '8080:80/TCP', '8080:80/sctp'],
  ...[
    'published=8080,target=80,protocol=udp',
    'published=8080,target',
    '82-80',
    '8080:82-80',
    ':80',
  ],
  ...['80/', '/tcp', '1.2.3.4:80', '8080:80/udp/x', '0:80', '-1:80', '+1:80', '0.0.0.0:1:1'],
].map((text) => ['-p', text]);

test('-p and --expose are read as by docker', async (t) => {
  const docker = await dockerClient(t, temporaryFolder(t));
  if (docker === undefined) return;
  const lines = [
    ...PORTS,
    ['-p', '8080:80', '-p', '8081:80', '-p', '90:90/udp'],
    ...['80', '90-91/udp', 'x', '80:90', '91-90', '70000', '80/foo', ''].map((text) => [
      '--expose',
      text,
    ]),
    ['--expose', '80', '-p', '80:80', '--expose', '79'],
  ];
  for (const line of lines) {
    const theirs = await docker.create(line);
    const values = (flag: string) => line.filter((_, index) => line[index - 1] === flag);
    const mine = ours(() =>
      resolveNetwork({ ...NO_OPTIONS, publish: values('-p'), expose: values('--expose') }),
    );
    if ('message' in theirs) {
      assert.deepEqual(mine, { message: theirs.message, code: 'invalid-config' }, line.join(' '));
      continue;
    }
    assert.ok('value' in mine, `${line.join(' ')}: ${JSON.stringify(mine)}`);
    const { exposed, ports } = mine.value;
    const bindings = Object.entries(ports).map(
      ([port, list]) =>
        [
          port,
          list.map(({ hostAddress, hostPort }) => ({ HostIp: hostAddress, HostPort: hostPort })),
        ] as const,
    );
    const { ExposedPorts = {}, HostConfig }: CreateRequest = theirs.request;
    assert.deepEqual(Object.fromEntries(bindings), HostConfig.PortBindings, line.join(' '));
    assert.deepEqual([...exposed].sort(), Object.keys(ExposedPorts).sort(), line.join(' '));
  }
});

const NAMES: readonly (readonly string[])[] = [
  ...[
    'a:1.2.3.4',
    'a=::1',
    'a:[::1]',
    'a=[1.2.3.4]',
    'a:host-gateway',
    'a',
    'a:b',
    ':1.1.1.1',
    'a:',
  ].map((text) => ['--add-host', text]),
  ...['1.1.1.1', '::1', 'x', '1.1.1', ''].map((text) => ['--dns', text]),
  ...['.', 'example.com', 'example.com.', 'a b', '-a', 'a_b'].map((text) => ['--dns-search', text]),
  ['--dns-option', 'ndots:2'],
];

test('--add-host and --dns are read as by docker', async (t) => {
  const docker = await dockerClient(t, temporaryFolder(t));
  if (docker === undefined) return;
  for (const line of NAMES) {
    const theirs = await docker.create(line);
    const values = (flag: string) => line.filter((_, index) => line[index - 1] === flag);
    const mine = ours(() =>
      resolveNetwork({
        ...NO_OPTIONS,
        addHosts: values('--add-host'),
        dns: values('--dns'),
        dnsSearch: values('--dns-search'),
        dnsOptions: values('--dns-option'),
      }),
    );
    if ('message' in theirs) {
      assert.deepEqual(mine, { message: theirs.message, code: 'invalid-config' }, line.join(' '));
      continue;
    }
    assert.ok('value' in mine, `${line.join(' ')}: ${JSON.stringify(mine)}`);
    const { dns, dnsOptions, dnsSearch, extraHosts } = mine.value;
    const { Dns, DnsOptions, DnsSearch, ExtraHosts }: CreateRequest['HostConfig'] =
      theirs.request.HostConfig;
    assert.deepEqual(
      { dns, dnsOptions, dnsSearch, extraHosts },
      { dns: Dns, dnsOptions: DnsOptions, dnsSearch: DnsSearch, extraHosts: ExtraHosts ?? [] },
      line.join(' '),
    );
  }
});

const NETWORKS: readonly (readonly string[])[] = [
  ['--network', 'foo', '--network-alias', 'a', '--ip', '10.0.0.2'],
  ['--network', 'name=foo,alias=a,alias=b,ip=10.0.0.2,mac-address=02:42:ac:11:00:02'],
  ['--network', 'foo', '--network', 'bar'],
  ['--network', 'foo', '--network', 'foo'],
  ['--network', 'bridge', '--network', 'foo'],
  ['--network-alias', 'a'],
  ['--network', 'bridge', '--network-alias', 'a'],
  ['--network', 'foo', '--ip6', '::1'],
  ['--mac-address', 'zz'],
  ['--mac-address', '02:42:ac:11:00:02', '--network', 'foo'],
  ['--network', 'name=foo,bar=1'],
  ['--network', 'alias=x'],
  ['--network', 'name=foo,alias=a', '--network-alias', 'b'],
  ['--network', 'name=foo,ip=10.0.0.2', '--ip', '10.0.0.3'],
  ['--network', 'name=foo,mac-address=02:42:ac:11:00:02', '--mac-address', '02:42:ac:11:00:03'],
  ['--network', 'none'],
  ['--network', ''],
];

test('--network is read as by docker', async (t) => {
  const docker = await dockerClient(t, temporaryFolder(t));
  if (docker === undefined) return;
  for (const line of NETWORKS) {
    const theirs = await docker.create(line);
    const values = (flag: string) => line.filter((_, index) => line[index - 1] === flag);
    const mine = ours(() =>
      resolveNetwork({
        ...NO_OPTIONS,
        networks: values('--network'),
        aliases: values('--network-alias'),
        ip: values('--ip')[0],
        ip6: values('--ip6')[0],
        macAddress: values('--mac-address')[0],
      }),
    );
    if ('message' in theirs) {
      assert.deepEqual(mine, { message: theirs.message, code: 'invalid-config' }, line.join(' '));
      continue;
    }
    assert.ok('value' in mine, `${line.join(' ')}: ${JSON.stringify(mine)}`);
    const { dockerMode, endpoints } = mine.value;
    const { HostConfig, NetworkingConfig }: CreateRequest = theirs.request;
    assert.equal(dockerMode, HostConfig.NetworkMode);
    const expected = Object.entries(NetworkingConfig.EndpointsConfig).map(
      ([network, endpoint]) => ({
        network,
        aliases: endpoint.Aliases ?? [],
        ip: endpoint.IPAMConfig?.IPv4Address,
        ip6: endpoint.IPAMConfig?.IPv6Address,
        mac: endpoint.MacAddress === '' ? undefined : endpoint.MacAddress,
      }),
    );
    const given = endpoints.map(({ aliases, ip, ip6, mac, network }) => ({
      network,
      aliases,
      ip,
      ip6,
      mac,
    }));
    const byName = (a: { network: string }, b: { network: string }) =>
      a.network < b.network ? -1 : 1;
    assert.deepEqual(given.sort(byName), expected.sort(byName), line.join(' '));
  }
});

test('what only Docker’s engine refuses has its messages', () => {
  const refused = (parse: () => unknown, message: string) =>
    assert.throws(parse, (error: unknown) => {
      assert.ok(error instanceof TsvmError);
      assert.deepEqual([error.message, error.code], [message, 'invalid-container']);
      return true;
    });
  refused(() => parseVolumeFlag('/b:ro', '/'), "invalid volume specification: '/b:ro'");
  refused(() => parseVolumeFlag('/a:/b:zz', '/'), 'invalid mode: zz');
  refused(() => parseVolumeFlag('/a:/b:ro,rw', '/'), 'invalid mode: ro,rw');
  refused(
    () => parseVolumeFlag('/a:/..', '/'),
    "invalid volume specification: '/a:/..': invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
  );
  refused(
    () => parseVolumeFlag('/a:b', '/'),
    "invalid volume specification: '/a:b': invalid mount config for type \"bind\": invalid mount path: 'b' mount path must be absolute",
  );
  refused(
    () => parseVolumeFlag('a/b:/c', '/'),
    'create a/b: "a/b" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path',
  );
  refused(
    () => parseMountFlag('type=bind,dst=/b', '/'),
    'invalid mount config for type "bind": field Source must not be empty',
  );
  refused(
    () => parseMountFlag('type=npipe,src=/a,dst=/b', '/'),
    'invalid mount config for type "npipe": mount type unknown',
  );
  refused(() => parseTmpfsOptions('size=1m,foo'), 'Invalid tmpfs option ["foo"]');
  refused(() => parseTmpfsOptions('foo=bar'), 'Invalid tmpfs option ["foo" "bar"]');
  refused(
    () => resolveNetwork({ ...NO_OPTIONS, ip: '10.0.0.2' }),
    'user specified IP address is supported on user defined networks only',
  );
});
