/** A real registry, and skopeo as the other client both ways. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { containerCli } from '../support/container-cli.ts';
import {
  type ImageRecipe,
  makeImage,
  writeLayout,
  writeSkopeoFolder,
} from '../support/image-maker.ts';
import { REGISTRY_PASSWORD, REGISTRY_USER, startRegistry } from '../support/registry.ts';
import { makeTar } from '../support/tar-maker.ts';
import { temporaryFolder } from '../support/tsvm-process.ts';

function skopeo(args: readonly string[]): string {
  return execFileSync('skopeo', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function layersOf(count: number): Buffer[] {
  return Array.from({ length: count }, (_, index) =>
    makeTar([{ name: `file-${index}`, data: `content ${index}`.repeat(1000) }]),
  );
}

/** Puts an image into a registry, with skopeo. */
function seed(host: string, name: string, recipe: ImageRecipe, folder: string): string {
  const image = makeImage(recipe);
  const layout = join(folder, `layout-${name.replace(/\W/g, '-')}`);
  writeSkopeoFolder(layout, image);
  skopeo([
    'copy',
    '--preserve-digests',
    '--dest-tls-verify=false',
    `dir:${layout}`,
    `docker://${host}/${name}`,
  ]);
  return image.manifest;
}

for (const packing of ['none', 'gzip', 'zstd'] as const) {
  test(`an image that skopeo pushed with ${packing} layers is pulled and pushed with the same digest`, async (t) => {
    const { host } = await startRegistry(t);
    const cli = containerCli(t);
    const digest = seed(host, 'from/skopeo:1', { layers: layersOf(3), packing }, cli.folder);
    const pulled = await cli.ok(['pull', `${host}/from/skopeo:1`]);
    assert.match(pulled, new RegExp(`Digest: ${digest}\nStatus: Downloaded newer image`));
    await cli.ok(['tag', `${host}/from/skopeo:1`, `${host}/from/tsvm:2`]);
    assert.match(
      await cli.ok(['push', `${host}/from/tsvm:2`]),
      new RegExp(`2: digest: ${digest} `),
    );
    const seen = JSON.parse(
      skopeo(['inspect', '--tls-verify=false', `docker://${host}/from/tsvm:2`]),
    );
    assert.equal(seen.Digest, digest);
    const own = JSON.parse(await cli.ok(['inspect', `${host}/from/tsvm:2`]));
    assert.equal(own[0].Architecture, seen.Architecture);
    assert.equal(own[0].Created, seen.Created);
    assert.deepEqual(own[0].RepoDigests.sort(), [
      `${host}/from/skopeo@${digest}`,
      `${host}/from/tsvm@${digest}`,
    ]);
  });
}

test('an image of 40 layers in Docker\u2019s media types, by tag and by digest', async (t) => {
  const { host } = await startRegistry(t);
  const cli = containerCli(t);
  const digest = seed(host, 'many:1', { layers: layersOf(40), docker: true }, cli.folder);
  await cli.ok(['pull', '-q', `${host}/many@${digest}`]);
  assert.match(await cli.ok(['images', '--digests']), new RegExp(`many +<none> +${digest}`));
  assert.match(await cli.ok(['pull', `${host}/many:1`]), /Already exists/);
  assert.match(await cli.ok(['pull', `${host}/many:1`]), /Status: Image is up to date for/);
});

test('all tags of a repository, and nothing else', async (t) => {
  const { host } = await startRegistry(t);
  const cli = containerCli(t);
  for (const tag of ['1', '2', 'latest']) {
    seed(host, `many:${tag}`, { layers: layersOf(2), run: { Cmd: [tag] } }, cli.folder);
  }
  seed(host, 'other:1', { layers: layersOf(1) }, cli.folder);
  const pulled = await cli.ok(['pull', '--all-tags', `${host}/many`]);
  for (const tag of ['1', '2', 'latest']) {
    assert.match(pulled, new RegExp(`^${tag}: Pulling from many$`, 'm'));
  }
  assert.equal(pulled.match(/^Digest: sha256:/gm)?.length, 3);
  assert.ok(
    pulled.endsWith(`Status: Downloaded newer image for ${host}/many\n${host}/many\n`),
    pulled,
  );
  const listed = await cli.ok(['images', '--format', '{{.Repository}}:{{.Tag}}']);
  const names = ['1', '2', 'latest'].map((tag) => `${host}/many:${tag}`);
  assert.deepEqual(listed.trim().split('\n').sort(), names);
  assert.match(await cli.ok(['pull', '-a', `${host}/many`]), /Status: Image is up to date for/);
  assert.equal(await cli.ok(['pull', '-q', '-a', `${host}/many`]), `${host}/many\n`);
  for (const [words, message] of [
    [['-a', `${host}/many:1`], /^tag can't be used with --all-tags\/-a\n$/],
    [['-a', `${host}/none`], /repository none not found/],
  ] as const) {
    const { code, stderr } = await cli.run(['pull', ...words]);
    assert.equal(code, 1);
    assert.match(stderr, message);
  }
});

test('of an image index the platform that was asked for is pulled', async (t) => {
  const { host } = await startRegistry(t);
  const cli = containerCli(t);
  for (const architecture of ['amd64', 'arm64']) {
    const layers = [makeTar([{ name: architecture, data: architecture }])];
    seed(host, `one:${architecture}`, { layers, architecture }, cli.folder);
  }
  const manifests = ['amd64', 'arm64'].map((architecture) => {
    const raw = execFileSync('skopeo', [
      'inspect',
      '--raw',
      '--tls-verify=false',
      `docker://${host}/one:${architecture}`,
    ]);
    const digest = skopeo([
      'inspect',
      '--format',
      '{{.Digest}}',
      '--tls-verify=false',
      `docker://${host}/one:${architecture}`,
      '--override-arch',
      architecture,
    ]).trim();
    return {
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      digest,
      size: raw.length,
      platform: { os: 'linux', architecture },
    };
  });
  const mediaType = 'application/vnd.oci.image.index.v1+json';
  const put = await fetch(`http://${host}/v2/one/manifests/all`, {
    method: 'PUT',
    headers: { 'content-type': mediaType },
    body: JSON.stringify({ schemaVersion: 2, mediaType, manifests }),
  });
  assert.equal(put.status, 201);
  await cli.ok(['pull', '-q', `${host}/one:all`]);
  assert.equal(await cli.ok(['inspect', '-f', '{{.Architecture}}', `${host}/one:all`]), 'amd64\n');
  await cli.ok(['pull', '-q', '--platform', 'linux/arm64', `${host}/one:all`]);
  assert.equal(await cli.ok(['inspect', '-f', '{{.Architecture}}', `${host}/one:all`]), 'arm64\n');
  const { code, stderr } = await cli.run(['pull', '--platform', 'linux/s390x', `${host}/one:all`]);
  assert.equal(code, 1);
  assert.match(stderr, /no matching manifest for linux\/s390x in the manifest list entries/);

  // A name of one image for one platform, as Docker: pulled with a warning, but not for a container.
  const arm = ['--platform', 'linux/arm64'];
  const mismatch =
    /platform \(linux\/amd64\) does not match the specified platform \(linux\/arm64\)/;
  assert.match(await cli.ok(['pull', ...arm, `${host}/one:amd64`]), mismatch);
  for (const policy of ['missing', 'never', 'always']) {
    const words = ['create', '--pull', policy, ...arm, `${host}/one:amd64`, 'true'];
    const refused = await cli.run(words);
    assert.equal(refused.code, 1, policy);
    assert.match(refused.stderr, mismatch, policy);
  }
  const unknown = await cli.run(['pull', '--platform', 'armchair', `${host}/one:amd64`]);
  assert.equal(unknown.code, 1);
  assert.match(unknown.stderr, /"armchair": unknown operating system or architecture/);
});

test('TLS with a CA file, and a login', async (t) => {
  const { host, ca } = await startRegistry(t, { tls: true, login: true });
  const cli = containerCli(t);
  cli.configureRegistries({ [host]: { ca } });
  await cli.ok(['import', '-', `${host}/private:1`], {
    input: makeTar([{ name: 'x', data: 'y' }]),
  });
  const denied = await cli.run(['push', `${host}/private:1`]);
  assert.equal(denied.code, 1);
  assert.match(denied.stderr, /authentication required/);
  const login = ['login', '-u', REGISTRY_USER, '--password-stdin', host];
  const wrong = await cli.run(login, { input: 'wrong' });
  assert.equal(wrong.code, 1);
  assert.match(wrong.stderr, /unauthorized: incorrect username or password/);
  assert.match(await cli.ok(login, { input: `${REGISTRY_PASSWORD}\n` }), /Login Succeeded/);
  await cli.ok(['push', `${host}/private:1`]);
  await cli.ok(['rmi', `${host}/private:1`]);
  await cli.ok(['pull', `${host}/private:1`]);
  // skopeo reads the same file.
  const authFile = join(cli.folder, 'docker/config.json');
  skopeo(['inspect', '--tls-verify=false', '--authfile', authFile, `docker://${host}/private:1`]);
  assert.equal(await cli.ok(['logout', host]), `Removing login credentials for ${host}\n`);
  await cli.ok(['rmi', `${host}/private:1`]);
  const out = await cli.run(['pull', `${host}/private:1`]);
  assert.equal(out.code, 1);
  assert.match(
    out.stderr,
    /pull access denied for .*private, repository does not exist or may require/,
  );
});

test('an untrusted certificate is refused', async (t) => {
  const { host } = await startRegistry(t, { tls: true });
  const cli = containerCli(t);
  // A CA file is named, so even loopback has to show a certificate that it signs.
  const other = temporaryFolder(t);
  execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-days',
      '1',
      '-subj',
      '/CN=other',
      '-keyout',
      join(other, 'k'),
      '-out',
      join(other, 'ca.pem'),
    ],
    { stdio: 'pipe' },
  );
  cli.configureRegistries({ [host]: { ca: join(other, 'ca.pem') } });
  const { code, stderr } = await cli.run(['pull', `${host}/x`]);
  assert.equal(code, 1);
  assert.match(stderr, /certificate|HTTPS|400|HTTP/i);
});

test('credentials come from a helper, which a name with a path cannot be', async (t) => {
  const { host } = await startRegistry(t, { login: true });
  const cli = containerCli(t);
  const bin = join(cli.folder, 'bin');
  mkdirSync(bin);
  mkdirSync(join(cli.folder, 'docker'));
  const answer = JSON.stringify({
    ServerURL: host,
    Username: REGISTRY_USER,
    Secret: REGISTRY_PASSWORD,
  });
  writeFileSync(
    join(bin, 'docker-credential-test'),
    `#!/bin/sh\ncat > "$0.asked"\necho '${answer}'\n`,
    { mode: 0o755 },
  );
  const env = { PATH: `${bin}:${process.env['PATH']}` };
  const config = join(cli.folder, 'docker/config.json');
  writeFileSync(config, JSON.stringify({ credHelpers: { [host]: 'test' } }));
  await cli.ok(['import', '-', `${host}/helped`], { input: makeTar([{ name: 'x' }]) });
  await cli.ok(['push', `${host}/helped`], { env });
  assert.equal(readFileSync(join(bin, 'docker-credential-test.asked'), 'utf8'), host);
  writeFileSync(config, JSON.stringify({ credsStore: '../../bin/sh' }));
  const { code, stderr } = await cli.run(['push', `${host}/helped`], { env });
  assert.equal(code, 1);
  assert.match(stderr, /invalid name of a credential helper/);
});

test('a broken config.json, or a helper that is not there, keeps nobody from what is public', async (t) => {
  const { host } = await startRegistry(t);
  const cli = containerCli(t);
  seed(host, 'public:1', { layers: layersOf(1) }, cli.folder);
  mkdirSync(join(cli.folder, 'docker'));
  const config = join(cli.folder, 'docker/config.json');
  const cases: readonly (readonly [content: string, warning: string])[] = [
    ['{"auths": ', `${config} is not a JSON object: fix or remove it`],
    ['[]', `${config} is not a JSON object: fix or remove it`],
    [
      '{"credsStore": "nowhere"}',
      'the credential helper docker-credential-nowhere failed: spawnSync docker-credential-nowhere ENOENT',
    ],
  ];
  // Its mirror's login is looked for in the same file: one warning is enough.
  cli.configureRegistries({ [host]: { mirrors: [`http://${host}`] } });
  for (const [content, warning] of cases) {
    writeFileSync(config, content);
    const pulled = await cli.run(['pull', '-q', `${host}/public:1`]);
    assert.deepEqual(pulled, {
      code: 0,
      stdout: `${host}/public:1\n`,
      stderr: `WARNING: Error loading config file: ${warning}\n`,
    });
    const pushed = await cli.run(['push', '-q', `${host}/public:1`]);
    assert.equal(pushed.code, 0, pushed.stderr);
    // Who logs in would lose what is in the file.
    const login = ['login', '-u', 'me', '--password-stdin', host];
    assert.equal((await cli.run(login, { input: 'secret' })).code, 1);
    assert.equal(readFileSync(config, 'utf8'), content);
  }
});

test('a mirror is asked first, and the registry when that fails', async (t) => {
  const mirror = await startRegistry(t);
  const origin = await startRegistry(t);
  const cli = containerCli(t);
  seed(mirror.host, 'both:1', { layers: layersOf(1) }, cli.folder);
  seed(origin.host, 'only:1', { layers: layersOf(2) }, cli.folder);
  cli.configureRegistries({ [origin.host]: { mirrors: [`http://${mirror.host}`] } });
  await cli.ok(['pull', `${origin.host}/both:1`]);
  const { code, stderr } = await cli.run(['pull', `${origin.host}/only:1`]);
  assert.equal(code, 0);
  assert.match(stderr, /the mirror localhost:\d+ failed: manifest for only:1 not found/);
});

test('layers that a repository of the registry has are mounted from there', async (t) => {
  const { host, folder } = await startRegistry(t);
  const cli = containerCli(t);
  seed(host, 'first:1', { layers: layersOf(2) }, cli.folder);
  await cli.ok(['pull', `${host}/first:1`]);
  await cli.ok(['tag', `${host}/first:1`, `${host}/second:1`]);
  const pushed = await cli.ok(['push', `${host}/second:1`]);
  assert.equal(pushed.match(/Mounted into second/g)?.length, 2);
  assert.equal(
    (await cli.ok(['push', `${host}/second:1`])).match(/Layer already exists/g)?.length,
    2,
  );
  assert.ok(readdirSync(join(folder, 'data/docker/registry/v2/repositories')).includes('second'));
});

test('a layer larger than a piece of an upload is pushed in several', async (t) => {
  const { host } = await startRegistry(t);
  const cli = containerCli(t);
  const data = Buffer.alloc(40 * 2 ** 20, 'some bytes ');
  await cli.ok(['import', '-', `${host}/large:1`], { input: makeTar([{ name: 'large', data }]) });
  await cli.ok(['push', `${host}/large:1`]);
  const target = join(temporaryFolder(t), 'copy');
  const copy = spawnSync('skopeo', [
    'copy',
    '--src-tls-verify=false',
    `docker://${host}/large:1`,
    `dir:${target}`,
  ]);
  assert.equal(copy.status, 0, `${copy.stderr}`);
});

test('podman and skopeo read archives of tsvm, and vice versa', async (t) => {
  const cli = containerCli(t);
  const layout = join(cli.folder, 'layout');
  mkdirSync(layout);
  const image = makeImage({ layers: layersOf(3), run: { Cmd: ['/x'], Env: ['A=b'] } });
  writeLayout(layout, image);
  assert.equal(await cli.ok(['load', '-i', layout]), `Loaded image ID: ${image.config}\n`);
  await cli.ok(['tag', image.config, 'fridge']);
  const archive = join(cli.folder, 'fridge.tar');
  await cli.ok(['save', '-o', archive, 'fridge']);
  const asOci = JSON.parse(skopeo(['inspect', `oci-archive:${archive}`]));
  assert.equal(asOci.Digest, image.manifest);
  const root = [
    '--root',
    join(cli.folder, 'podman'),
    '--runroot',
    join(cli.folder, 'podman-run'),
    '--storage-driver',
    'vfs',
  ];
  const loaded = execFileSync('podman', [...root, 'load', '-q', '-i', archive], {
    encoding: 'utf8',
  });
  assert.match(loaded, /fridge:latest/);
  for (const format of ['docker-archive', 'oci-archive']) {
    const saved = join(cli.folder, `${format}.tar`);
    execFileSync('podman', [...root, 'save', '-q', '--format', format, '-o', saved, 'fridge'], {
      stdio: 'pipe',
    });
    await cli.ok(['rmi', '-f', 'fridge']);
    await cli.ok(['load', '-i', saved]);
    const [{ RootFS, Config }] = JSON.parse(await cli.ok(['inspect', 'fridge']));
    assert.deepEqual(
      RootFS.Layers,
      image.layers.map(({ diffId }) => diffId),
    );
    assert.deepEqual(Config.Env, ['A=b']);
  }
});
