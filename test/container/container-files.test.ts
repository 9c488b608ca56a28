/** cp, diff, export and commit, by the lines that people type, in real machines. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ContainerShell } from '../support/container-shell.ts';

const shell = new ContainerShell();
const ok = shell.ok.bind(shell);
const sh = shell.sh.bind(shell);
const at = (...names: string[]) => join(shell.folder, ...names);

before(async () => {
  shell.addImage('box', {}, [{ name: 'srv', type: '5' }]);
  mkdirSync(at('src/sub'), { recursive: true });
  writeFileSync(at('src/file'), 'content');
  chmodSync(at('src/file'), 0o751);
  linkSync(at('src/file'), at('src/hard'));
  symlinkSync('file', at('src/link'));
  writeFileSync(at('src/sub/below'), 'below');
  await ok('tsvm run -d --name live box sleep 1000 && tsvm create --name still box');
});
after(() => shell.close());

/** Files of a folder with their types, and where links lead. */
function tree(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => {
      const stat = lstatSync(join(folder, name));
      if (stat.isSymbolicLink()) return `${name} -> ${readlinkSync(join(folder, name))}`;
      return stat.isDirectory() ? `${name}/` : name;
    })
    .sort();
}

const MIB = 2 ** 20;
const SOURCE = ['file', 'hard', 'link -> file', 'sub/', 'sub/below'];

for (const name of ['live', 'still']) {
  test(`cp to and from a container that ${name === 'live' ? 'runs' : 'does not run'}`, async () => {
    await ok(
      `tsvm cp src ${name}:/srv/new && tsvm cp src ${name}:/srv/new && tsvm cp src/file ${name}:srv/renamed`,
    );
    await ok(`rm -rf out && tsvm cp ${name}:/srv/new out && tsvm cp ${name}:/srv/renamed out/sub`);
    const below = SOURCE.map((line) => `src/${line}`);
    assert.deepEqual(tree(at('out')), [...SOURCE, 'src/', ...below, 'sub/renamed'].sort());
    assert.equal(statSync(at('out/sub/renamed')).mode & 0o777, 0o751);
    assert.equal(
      statSync(at('out/file')).ino,
      statSync(at('out/hard')).ino,
      'hard links stay links',
    );
    assert.equal(readFileSync(at('out/sub/renamed'), 'utf8'), 'content');
  });
}

// Those pass the guest's page cache by, in whole blocks.
for (const name of ['live', 'still']) {
  test(`cp of large files, to and from a container that ${name === 'live' ? 'runs' : 'does not run'}`, async () => {
    mkdirSync(at('large'), { recursive: true });
    const sizes = [4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 9 * MIB + 4097, 6 * MIB + 512];
    for (const size of sizes) writeFileSync(at(`large/${size}`), randomBytes(size));
    await ok(`tsvm cp large ${name}:/srv && rm -rf copied && tsvm cp ${name}:/srv/large copied`);
    await ok('diff -r large copied');
    // Through the page cache, too.
    if (name === 'live') {
      const sums = await ok('tsvm exec live sh -c "cd /srv/large && sha256sum *"');
      assert.equal(sums, await ok('cd large && sha256sum *'));
      await ok('tsvm exec live sh -c "echo end >>/srv/large/4194304" && echo end >>large/4194304');
      await ok('tsvm cp live:/srv/large/4194304 appended && cmp large/4194304 appended');
    }
    await ok(
      `tsvm cp ${name}:/srv/large - | tar -x -f - && diff -r large copied; rm -rf large copied`,
    );
  });
}

test('cp of a file that has no room fails at once and leaves none of its size', async () => {
  await ok('tsvm run -d --name small --storage-opt size=64m box sleep 1000');
  await ok('truncate -s 100M sparse');
  const { code, stderr } = await sh('tsvm cp sparse small:/srv/sparse');
  assert.equal(code, 1);
  assert.match(stderr, /cannot unpack sparse: No space left on device/i);
  assert.equal(await ok('tsvm exec small stat -c %s /srv/sparse'), '0\n');
  await ok('tsvm rm -f small && rm sparse');
});

test('what cp makes of names, folders and links is what docker documents', async () => {
  await ok('tsvm exec live mkdir /srv/folder && tsvm cp src/. live:/srv/folder');
  assert.equal(await ok('tsvm exec live ls /srv/folder'), 'file\nhard\nlink\nsub\n');
  await ok(
    'rm -rf into as && mkdir into && tsvm cp live:/srv/folder into && tsvm cp live:/srv/folder/. as',
  );
  assert.deepEqual(tree(at('into')), ['folder/', ...SOURCE.map((line) => `folder/${line}`)]);
  assert.deepEqual(tree(at('as')), SOURCE);
  await ok('tsvm cp live:/srv/folder/link into && tsvm cp -L live:/srv/folder/link followed');
  assert.equal(readlinkSync(at('into/link')), 'file');
  assert.equal(readFileSync(at('followed'), 'utf8'), 'content');
  const refused = async (line: string, message: RegExp) => {
    const { code, stderr } = await sh(`tsvm cp ${line}`);
    assert.notEqual(code, 0);
    assert.match(stderr, message);
  };
  await refused('live:/nowhere .', /Could not find the file \/nowhere in container live/);
  await refused('src live:/srv/folder/file', /cannot copy directory to a file/);
  await refused('live:/srv/folder followed', /cannot copy a directory to a file/);
  await refused(
    'src/file live:/nowhere/file',
    /Could not find the file \/nowhere in container live/,
  );
  await refused('nowhere live:/srv', /nowhere: no such file or directory/);
  await refused('live:/srv/folder no/parent', /directory ".*\/no" does not exist/);
  await refused('nobody:/x .', /No such container: nobody/);
  await refused('src other', /must specify at least one container source/);
});

test('cp - : archives by standard input and output', async () => {
  assert.equal(await ok('tsvm cp live:/etc/passwd - | tar -t'), 'passwd\n');
  await ok('tsvm exec live mkdir /srv/in && tar -c src | tsvm cp - live:/srv/in');
  assert.equal(await ok('tsvm exec live cat /srv/in/src/sub/below'), 'below');
  const { code, stderr } = await sh('tar -c src | tsvm cp - live:/etc/passwd');
  assert.equal(code, 1);
  assert.match(stderr, /destination "live:\/etc\/passwd" must be a directory/);
});

test('cp stays in the container, whatever links it has: podman#3211', async () => {
  await ok(
    `tsvm exec live sh -c 'ln -s ${shell.folder} /srv/escape; ln -s / /srv/root; ln -s ../../../../../.. /srv/up'`,
  );
  writeFileSync(at('payload'), 'payload');
  // The first exists on the host, but not in the container.
  const away = await sh('tsvm cp payload live:/srv/escape/landed');
  assert.notEqual(away.code, 0);
  assert.ok(!existsSync(at('landed')));
  await ok('tsvm cp payload live:/srv/root/landed && tsvm cp payload live:/srv/up/tmp/landed');
  assert.equal(await ok('tsvm exec live cat /landed /tmp/landed'), 'payloadpayload');
  await ok('tsvm exec live ln -s /etc/hostname /srv/name && tsvm cp -L live:/srv/name hostname');
  assert.equal(readFileSync(at('hostname'), 'utf8'), await ok('tsvm exec live hostname'));
});

test('cp from a hostile container writes nothing beside the destination', async () => {
  // A link to a place on the host, and a file below a folder of that name.
  await ok(
    `tsvm exec live sh -c 'mkdir -p /srv/bad && ln -s ${at('victim')} /srv/bad/door && ln -s /etc/passwd /srv/bad/passwd'`,
  );
  mkdirSync(at('victim'));
  mkdirSync(at('trap'));
  symlinkSync(at('victim'), at('trap/door'));
  await ok('tsvm cp live:/srv/bad here');
  assert.equal(readlinkSync(at('here/passwd')), '/etc/passwd', 'a link is copied as it is');
  await ok(
    `tsvm exec live sh -c 'rm /srv/bad/door; mkdir /srv/bad/door; echo in >/srv/bad/door/file'`,
  );
  // The host already has a link where the container has a folder.
  await ok('tsvm cp live:/srv/bad/. trap');
  assert.deepEqual(readdirSync(at('victim')), []);
});

test('devices of a container do not become devices of the host', async () => {
  await ok('tsvm exec --privileged live mknod /srv/disk b 8 0');
  const { code, stderr } = await sh('tsvm cp live:/srv/disk disk');
  assert.notEqual(code, 0);
  assert.match(stderr, /Cannot mknod|Operation not permitted/);
  assert.ok(!existsSync(at('disk')));
  await ok('tsvm exec live rm /srv/disk');
});

test('diff: what was added, changed and deleted', async () => {
  const line = `echo x >/etc/passwd; echo y >/etc/new; rm /bin/vi; rm -r /home; mkdir -p /deep/er`;
  await ok(`tsvm run --name changed box sh -c '${line}'`);
  assert.deepEqual((await ok('tsvm diff changed')).trim().split('\n'), [
    'C /bin',
    'D /bin/vi',
    'A /deep',
    'A /deep/er',
    'C /etc',
    'A /etc/new',
    'C /etc/passwd',
    'D /home',
  ]);
});

test('export: the whole root without mounts', async () => {
  await ok('tsvm run --name exported -v $(pwd)/src:/mounted box sh -c "echo made >/made"');
  const names = (await ok('tsvm export exported | tar -t'))
    .split('\n')
    .map((name) => name.replace(/^\.\//, ''));
  assert.ok(names.includes('made') && names.includes('bin/busybox'), names.slice(0, 20).join(' '));
  assert.ok(!names.includes('mounted/file'));
  const toLink = await sh('ln -s root.tar root-link && tsvm export -o root-link exported');
  assert.match(toLink.stderr, /^failed to export container: cannot write to a symbolic link/);
  await ok('tsvm export -o root.tar exported && tsvm import root.tar again && tsvm rm exported');
  assert.equal(await ok('tsvm run --rm again cat /made'), 'made\n');
  assert.equal((await sh('tsvm export -o no/such/folder.tar changed')).code, 1);
});

test('run, commit ID fridge, history, save, load, run fridge', async () => {
  await ok(
    `tsvm run --name cook -e A=1 box sh -c "echo 'some content' > /tmp/some-content; rm /etc/group; rm -r /home"`,
  );
  const id = (await ok(`tsvm commit -m 'with food' -a 'Ann' cook fridge`)).trim();
  assert.match(id, /^sha256:[0-9a-f]{64}$/);
  assert.match(
    await ok('tsvm history fridge'),
    /\n[0-9a-f]{12} +.* ago +sh -c echo 'some… +\S+B +with food\n|with food/,
  );
  assert.equal(
    await ok(`tsvm inspect -f '{{.Author}} {{.Comment}} {{json .Config.Env}}' fridge`),
    'Ann with food ["A=1"]\n',
  );
  await ok('tsvm save -o f.tar fridge && tsvm rmi fridge && tsvm load -i f.tar');
  assert.equal((await ok('tsvm images -q --no-trunc fridge')).trim(), id, 'the same digest');
  assert.equal(await ok('tsvm run --rm fridge cat /tmp/some-content'), 'some content\n');
  assert.equal((await sh('tsvm run --rm fridge ls /etc/group /home')).code, 1, 'still deleted');
});

test('commit --change: CMD [] is empty, an entrypoint drops the command, ENV and LABEL add', async () => {
  await ok(`tsvm commit -c 'CMD []' cook empty`);
  assert.equal(await ok(`tsvm inspect -f '{{json .Config.Cmd}}' empty`), '[]\n');
  await ok(
    `tsvm commit -c 'ENTRYPOINT ["echo"]' -c 'ENV B=2' -c 'LABEL x=y' -c 'EXPOSE 80' -c 'USER ann' cook other`,
  );
  assert.equal(
    await ok(
      `tsvm inspect -f '{{json .Config.Entrypoint}} {{json .Config.Cmd}} {{.Config.Env}} {{.Config.Labels}} {{.Config.User}} {{json .Config.ExposedPorts}}' other`,
    ),
    '["echo"] null [A=1 B=2] map[x:y] ann {"80/tcp":{}}\n',
  );
  assert.equal(await ok('tsvm run --rm other hi'), 'hi\n');
});
