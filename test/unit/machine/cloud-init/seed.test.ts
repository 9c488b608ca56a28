import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { writeFat } from '../../../../vmm/machine/cloud-init/fat-writer.ts';
import { seedDisk, seedFiles } from '../../../../vmm/machine/cloud-init/seed.ts';
import { resolveConfig } from '../../../../vmm/machine/config.ts';
import { checkCloudConfig, runWithCloudInit } from '../../../support/cloud-init.ts';
import { bytesDisk, openWhole, run } from '../../../support/disk-boot/file-system-images.ts';
import { temporaryFolder } from '../../../support/tsvm-process.ts';

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9jZ0Vb2b6x someone@host';

function write(context: TestContext, name: string, content: string | Uint8Array): string {
  const path = join(temporaryFolder(context), name);
  writeFileSync(path, content);
  return path;
}

/** What mtools reads of an image. */
function readByMtools(image: string, name: string): string {
  process.env['MTOOLS_SKIP_CHECK'] = '1';
  return run('mtype', '-i', image, `::/${name}`);
}

test('the seed is a sound FAT file system with the label CIDATA, which mtools reads', (context) => {
  const userDataPath = write(context, 'user.yaml', '#cloud-config\npackages: [curl]\n');
  const networkConfigPath = write(context, 'net.yaml', 'version: 2\n');
  const config = { userDataPath, networkConfigPath, hostname: 'web', password: 'it is "secret"' };
  const image = write(context, 'seed.img', seedDisk(config));
  run('fsck.vfat', '-n', image);
  assert.equal(run('blkid', '-s', 'LABEL', '-o', 'value', image).trim(), 'CIDATA');
  assert.equal(run('blkid', '-s', 'TYPE', '-o', 'value', image).trim(), 'vfat');
  const files = seedFiles(config);
  assert.deepEqual([...files.keys()].sort(), [
    'meta-data',
    'network-config',
    'user-data',
    'vendor-data',
  ]);
  for (const [name, content] of files) {
    assert.equal(readByMtools(image, name), Buffer.from(content).toString(), name);
  }
});

test('files of all sizes, empty and large ones, come back as they were', (context) => {
  const noise = (length: number) => Uint8Array.from({ length }, (_, index) => (index * 7919) >> 3);
  for (const sizes of [[0], [1, 511, 512, 513], [3_000_000, 0, 5], [20_000_000], [0, 0, 0]]) {
    const files = new Map(sizes.map((size, index) => [`a long name of ${index}`, noise(size)]));
    const bytes = writeFat('TEST', 0x12345678, files);
    run('fsck.vfat', '-n', write(context, 'image', bytes));
    const fileSystem = openWhole(bytesDisk(bytes));
    assert.equal(fileSystem.uuid, '1234-5678');
    const entries = fileSystem.roots[0].inode.entries();
    assert.deepEqual(
      entries.map(({ name }) => name),
      [...files.keys()],
    );
    for (const { name, open } of entries) {
      const inode = open();
      assert.ok(Buffer.from(files.get(name) ?? []).equals(inode.read(0, inode.sizeBytes)), name);
    }
  }
  assert.throws(() => writeFat('X', 1, new Map([['x', new Uint8Array(2 ** 28)]])), RangeError);
});

test('cloud-init finds what we write valid', (context) => {
  const files = seedFiles({ password: 'a: "b" # c\\', hostname: 'web-1.example' });
  for (const name of ['user-data', 'vendor-data']) {
    assert.equal(checkCloudConfig(write(context, name, files.get(name) ?? '')), '', name);
  }
  const wrong = write(context, 'wrong', '#cloud-config\npassword: [1]\n');
  assert.match(checkCloudConfig(wrong), /password/, 'the check can fail');
});

test('cloud-init reads the keys and the name of meta-data', (context) => {
  const files = seedFiles({
    hostname: 'web',
    sshKeyPaths: [write(context, 'key.pub', `# mine\n${KEY}\n\n${KEY}2\n`)],
  });
  const script = `
import sys
from cloudinit import util
from cloudinit.sources import normalize_pubkey_data
data = util.load_yaml(open(sys.argv[1]).read())
print(data['local-hostname'], data['instance-id'])
print('\\n'.join(normalize_pubkey_data(data['public-keys'])))
`;
  const path = write(context, 'meta-data', files.get('meta-data') ?? '');
  const { output } = runWithCloudInit(['-c', script, path]);
  assert.match(output, /^web tsvm-[0-9a-f]{16}\n/);
  assert.ok(output.endsWith(`\n${KEY}\n${KEY}2\n`), output);
});

test('the instance’s id is the same for the same settings, and another for others', () => {
  const id = (hostname: string) =>
    JSON.parse(Buffer.from(seedFiles({ hostname }).get('meta-data') ?? []).toString())[
      'instance-id'
    ];
  assert.equal(id('a'), id('a'));
  assert.notEqual(id('a'), id('b'));
});

test('meta-data of the user is taken as it is', (context) => {
  const metaDataPath = write(context, 'meta.yaml', 'instance-id: mine\n');
  const files = seedFiles({ metaDataPath });
  assert.equal(Buffer.from(files.get('meta-data') ?? []).toString(), 'instance-id: mine\n');
});

test('what cannot work is refused with what to do', (context) => {
  const refused = (config: Parameters<typeof seedFiles>[0], message: RegExp) => {
    assert.throws(() => seedFiles(config), message);
  };
  refused({ userDataPath: '/nonexistent' }, /cannot read \/nonexistent/);
  refused({ userDataPath: '/dev/null' }, /not a regular file/);
  refused(
    { userDataPath: write(context, 'x', 'packages: []\n') },
    /first line must be "#cloud-config"/,
  );
  refused({ userDataPath: write(context, 'x', '\ufeff#cloud-config\n') }, /byte order mark/);
  refused({ sshKeyPaths: [write(context, 'k', '-----BEGIN OPENSSH PRIVATE KEY-----')] }, /\.pub/);
  refused({ sshKeyPaths: [write(context, 'k', '\n# none\n')] }, /has no SSH key/);
  for (const line of ['garbage', 'ssh-ed25519', 'AAAAC3Nz', 'ssh-rsa BBBB x@y']) {
    const path = write(context, 'k', `${KEY}\n\n${line}\n`);
    refused({ sshKeyPaths: [path] }, /line 3 is no public SSH key/);
  }
  const configured = (cloudInit: unknown, message: RegExp) => {
    assert.throws(() => resolveConfig({ kernelPath: 'k', cloudInit } as never), message);
  };
  configured({ hostname: 'a b' }, /the host name "a b"/);
  configured({ hostname: '-a' }, /host name/);
  configured({ hostname: 'a', metaDataPath: 'm' }, /meta-data contradicts/);
  configured({ password: '' }, /password is empty/);
  configured({ password: 'a\nb' }, /several lines/);
  configured({ user: 'x' }, /has no "user"/);
});
