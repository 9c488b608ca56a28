/** Volumes of containers, by the lines that people type, in real machines. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { packageRoot } from '../../vmm/util/package-root.ts';
import { ContainerShell } from '../support/container-shell.ts';
import { compileGuestProgram } from '../support/initrd.ts';

const CLIENT_SOURCE = join(packageRoot(), 'test/support/guest-programs/unix_client.c');
const shell = new ContainerShell();
const ok = shell.ok.bind(shell);
const sh = shell.sh.bind(shell);

before(() => {
  shell.addImage('box');
  shell.addImage('data', { Volumes: { '/srv/data': {} } }, [
    { name: 'srv', type: '5' },
    { name: 'srv/data', type: '5', uid: 33, gid: 44, mode: 0o750 },
    { name: 'srv/data/seed', data: 'seed', uid: 33, gid: 44, mode: 0o640 },
  ]);
});
after(() => shell.close());

test('run --rm -v $(pwd)/t:/app/test/ -w /app/test IMAGE sh -c "a && b"', async () => {
  mkdirSync(join(shell.folder, 't'));
  writeFileSync(join(shell.folder, 't/given'), 'given');
  assert.equal(
    await ok(
      `tsvm run --rm -v $(pwd)/t:/app/test/ -w /app/test box sh -c 'cat given && pwd >made'`,
    ),
    'given',
  );
  assert.equal(readFileSync(join(shell.folder, 't/made'), 'utf8'), '/app/test\n');
});

test('a named volume is filled from the image at first use, and shared by containers', async () => {
  await ok('tsvm volume create --label a=b shared');
  const path = (await ok(`tsvm volume inspect -f '{{.Mountpoint}}' shared`)).trim();
  assert.deepEqual(readdirSync(path), [], 'a new volume is empty');
  await ok('tsvm run -d --name one -v shared:/srv/data data sleep 1000');
  const { gid, mode, uid } = statSync(path);
  assert.deepEqual([uid, gid, mode & 0o7777], [33, 44, 0o750]);
  assert.equal(readFileSync(join(path, 'seed'), 'utf8'), 'seed');
  await ok('tsvm exec one rm /srv/data/seed');
  await ok(`tsvm run -d --name two -v shared:/other box sh -c 'echo two >/other/two; sleep 1000'`);
  await shell.until('tsvm exec one cat /srv/data/two', /^two\n$/);
  assert.ok(!existsSync(join(path, 'seed')), 'only an empty volume is filled');
  const used = await sh('tsvm volume rm shared');
  assert.equal(used.code, 1);
  assert.match(
    used.stderr,
    /^Error response from daemon: remove shared: volume is in use - \[[0-9a-f]{64}, /,
  );
  await ok('tsvm rm -f one two');
  assert.equal(await ok('tsvm volume ls -q -f label=a=b'), 'shared\n');
  assert.equal(await ok('tsvm volume rm shared'), 'shared\n');
  assert.ok(!existsSync(path));
  const gone = await sh('tsvm volume inspect shared');
  assert.deepEqual(gone, {
    code: 1,
    stdout: '[]\n',
    stderr: 'Error response from daemon: get shared: no such volume\n',
  });
});

test('a volume at two places of one container: filled by the first, shared by both', async () => {
  const line = 'ls /srv/data; echo x >/srv/data/both; cat /other/both';
  assert.equal(
    await ok(`tsvm run --rm -v twice:/srv/data -v twice:/other data sh -c '${line}'`),
    'seed\nx\n',
  );
  await ok('tsvm run -d --name user -v twice:/srv/data -v twice:/other data sleep 1000');
  const used = await sh('tsvm volume rm twice');
  assert.match(used.stderr, /volume is in use - \[[0-9a-f]{64}\]$/m);
  assert.equal(await ok(`tsvm volume ls -q -f name='^tw.ce$'`), 'twice\n');
  await ok('tsvm rm -f user && tsvm volume rm twice');
});

test('a volume of two containers that start at once is filled once', async () => {
  const lines = ['a', 'b', 'c'].map((name) =>
    ok(
      `tsvm run --rm --name at-once-${name} -v once:/srv/data data sh -c 'ls /srv/data; cat /srv/data/seed'`,
    ),
  );
  assert.deepEqual(await Promise.all(lines), Array(3).fill('seed\nseed'));
  await ok('tsvm volume rm once');
});

test('volumes without a name: kept by rm, removed by --rm, rm -v and prune', async () => {
  const volumes = () => ok('tsvm volume ls -q');
  assert.equal(await volumes(), '');
  await ok('tsvm run --rm data true');
  assert.equal(await volumes(), '');
  await ok('tsvm run --name kept data true');
  const [name = ''] = (await volumes()).split('\n');
  assert.match(name, /^[0-9a-f]{64}$/);
  assert.match(
    await ok(
      `tsvm inspect -f '{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}}{{end}}' kept`,
    ),
    new RegExp(`^volume ${name} /srv/data true\n$`),
  );
  await ok('tsvm rm kept');
  await ok('tsvm volume create named');
  assert.match(
    await ok('tsvm volume prune -f'),
    new RegExp(`^Deleted Volumes:\n${name}\n\nTotal reclaimed space: .+B\n$`),
  );
  assert.equal(await volumes(), 'named\n');
  await ok('tsvm volume prune -f -a');
  await ok('tsvm run --name other data true && tsvm rm -v other');
  assert.equal(await volumes(), '');
});

test('--volumes-from, tmpfs, single files and read-only mounts', async () => {
  writeFileSync(join(shell.folder, 'file'), 'one\n');
  await ok('tsvm create --name owner -v $(pwd)/file:/etc/file -v keep:/keep --tmpfs /scratch box');
  assert.equal(
    await ok(
      `tsvm run --rm --volumes-from owner box sh -c 'cat /etc/file; echo kept >/keep/x; ls /'| grep -c scratch; true`,
    ),
    '0\n',
  );
  const refused = await sh(
    `tsvm run --rm --volumes-from owner:ro box sh -c 'cat /keep/x; echo no >/keep/x; echo no >/etc/file'`,
  );
  assert.equal(refused.stdout, 'kept\n');
  assert.match(refused.stderr, /Read-only file system[\s\S]*Read-only file system/);
  assert.equal(readFileSync(join(shell.folder, 'file'), 'utf8'), 'one\n');
  await ok('tsvm rm owner && tsvm volume rm keep');
});

test('-v a.sock:/a.sock: a client inside reaches the server on the host', async (t) => {
  const client = join(shell.folder, 'client');
  compileGuestProgram(client, [CLIENT_SOURCE]);
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let text = '';
    socket.setEncoding('utf8').on('data', (part) => {
      text += part;
    });
    socket.once('end', () => socket.end(text.toUpperCase()));
  });
  await new Promise<void>((resolve) => server.listen(join(shell.folder, 'a.sock'), resolve));
  t.after(() => server.close());
  assert.equal(
    await ok(
      `tsvm run --rm -v $(pwd)/a.sock:/var/run/a.sock -v $(pwd)/client:/bin/client box sh -c 'echo hello | client /var/run/a.sock'`,
    ),
    'HELLO\n',
  );
});

test('what cannot be mounted is said, and nothing is left', async () => {
  const refused = async (flags: string, message: RegExp) => {
    const { code, stderr } = await sh(`tsvm run --rm ${flags} box true`);
    assert.equal(code, 125);
    assert.match(stderr, message);
  };
  await refused('-v /dev/null:/x', /devices and pipes of the host cannot be shared/);
  await refused(
    '--mount type=bind,src=/nowhere,dst=/x',
    /bind source path does not exist: \/nowhere/,
  );
  await refused('-v a/b:/x', /includes invalid characters for a local volume name/);
  await refused('-v /tmp:/', /destination can't be '\/'/);
  assert.equal(await ok('tsvm ps -aq; tsvm volume ls -q'), '');
});
