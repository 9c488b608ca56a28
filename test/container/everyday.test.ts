/** The lines that people type every day, with `tsvm` for `docker`, as a shell runs them. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { CONTAINER_COMMANDS, CONTAINER_VERBS, REGISTRY_COMMANDS } from '../../vmm/cli/programs.ts';
import { type ContainerCli, containerCli } from '../support/container-cli.ts';
import { type ImageRecipe, makeImage, writeLayout } from '../support/image-maker.ts';
import { storeFaults } from '../support/own-store.ts';
import { makeTar } from '../support/tar-maker.ts';
import { TSVM } from '../support/tsvm-process.ts';

interface Shell extends ContainerCli {
  /** Runs a line with `tsvm` on the PATH. */
  sh(line: string, input?: string): { stdout: string; stderr: string; code: number | null };
  /** Loads an image of its own. @returns its ID */
  make(name: string | undefined, recipe?: Partial<ImageRecipe>): Promise<string>;
}

function shell(t: TestContext): Shell {
  const cli = containerCli(t);
  const bin = join(cli.folder, 'bin');
  mkdirSync(bin);
  writeFileSync(join(bin, 'tsvm'), `#!/bin/sh\nexec ${TSVM} "$@"\n`, { mode: 0o755 });
  const env = { ...process.env, ...cli.env, PATH: `${bin}:${process.env['PATH']}` };
  let made = 0;
  return {
    ...cli,
    sh: (line, input = '') => {
      const { stdout, stderr, status } = spawnSync('sh', ['-c', line], {
        env,
        input,
        encoding: 'utf8',
        cwd: cli.folder,
      });
      return { stdout, stderr, code: status };
    },
    make: async (name, recipe = {}) => {
      made++;
      const layout = join(cli.folder, `layout-${made}`);
      mkdirSync(layout);
      const layers = recipe.layers ?? [makeTar([{ name: `file-${made}`, data: 'x'.repeat(1000) }])];
      const image = makeImage({ ...recipe, layers });
      writeLayout(layout, image);
      await cli.ok(['load', '-i', layout]);
      rmSync(layout, { recursive: true });
      if (name !== undefined) await cli.ok(['tag', image.config, name]);
      return image.config;
    },
  };
}

const short = (id: string) => id.slice(7, 19);

test('images', async (t) => {
  const { sh, make } = shell(t);
  assert.equal(sh('tsvm images').stdout, 'REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n');
  const created = new Date(Date.now() - 3 * 86_400_000 - 60_000).toISOString();
  const id = await make('fridge', { created });
  assert.equal(
    sh('tsvm images').stdout,
    `REPOSITORY   TAG       IMAGE ID       CREATED      SIZE\nfridge       latest    ${short(id)}   3 days ago   1kB\n`,
  );
  assert.equal(sh('tsvm images -q').stdout, `${short(id)}\n`);
  assert.equal(sh('tsvm images -q --no-trunc').stdout, `${id}\n`);
  assert.equal(sh('tsvm image ls --quiet=true').stdout, `${short(id)}\n`);
  assert.equal(
    sh('tsvm images --format "{{.Repository}}:{{.Tag}} {{.ID}}"').stdout,
    `fridge:latest ${short(id)}\n`,
  );
  assert.equal(JSON.parse(sh('tsvm images --format json').stdout).Repository, 'fridge');
  assert.match(sh("tsvm images --format 'table {{.ID}}\\t{{.Tag}}'").stdout, /^IMAGE ID +TAG\n/);
});

test('filters of images', async (t) => {
  const { sh, make } = shell(t);
  const run = { Labels: { tier: 'back', x: '' } };
  const old = await make('old:1', { created: '2020-01-01T00:00:00Z', run });
  const middle = await make('middle', { created: '2021-01-01T00:00:00Z' });
  const late = await make(undefined, { created: '2022-01-01T00:00:00Z' });
  const list = (options: string) => sh(`tsvm images -q ${options}`).stdout.trim().split('\n');
  assert.deepEqual(list(''), [late, middle, old].map(short));
  assert.deepEqual(list('-f dangling=true'), [short(late)]);
  assert.deepEqual(list('--filter=dangling=false'), [middle, old].map(short));
  assert.deepEqual(list('-f label=tier'), [short(old)]);
  assert.deepEqual(list('-f label=tier=back'), [short(old)]);
  assert.deepEqual(list('-f label=tier=front'), ['']);
  assert.deepEqual(list('-f before=middle'), [short(old)]);
  assert.deepEqual(list(`-f since=${short(middle)}`), [short(late)]);
  assert.deepEqual(list("-f reference='m*'"), [short(middle)]);
  assert.deepEqual(list("-f reference='*:1'"), [short(old)]);
  assert.deepEqual(list('old'), [short(old)]);
  assert.deepEqual(list('old:2'), ['']);
  const bad = sh('tsvm images -f nope=1');
  assert.deepEqual(
    [bad.code, bad.stderr],
    [1, "Error response from daemon: invalid filter 'nope'\n"],
  );
});

test('rmi $(tsvm images -q)', async (t) => {
  const { sh, make } = shell(t);
  await make('one');
  await make('two');
  await make(undefined);
  const { code, stdout } = sh('tsvm rmi $(tsvm images -q)');
  assert.equal(code, 0);
  assert.match(stdout, /Untagged: one:latest\nDeleted: sha256:/);
  assert.equal(sh('tsvm images -q').stdout, '');
});

test('rmi -f $(tsvm images -q -a -f dangling=true)', async (t) => {
  const { sh, make } = shell(t);
  await make('stays');
  await make(undefined);
  await make(undefined);
  const { code, stdout } = sh('tsvm rmi -f $(tsvm images -q -a -f dangling=true)');
  assert.equal(code, 0);
  assert.equal(stdout.match(/^Deleted: /gm)?.length, 4);
  assert.match(sh('tsvm images').stdout, /^stays /m);
});

test("images | grep none | awk '{print $3}' | xargs -n 1 tsvm rmi", async (t) => {
  const { sh, make } = shell(t);
  await make('stays');
  await make(undefined);
  const { code } = sh("tsvm images | grep none | awk '{print $3}' | xargs -n 1 tsvm rmi");
  assert.equal(code, 0);
  assert.equal(sh('tsvm images -q').stdout.trim().split('\n').length, 1);
});

test('save -o, load -i, and through pipes', async (t) => {
  const { sh, make, folder } = shell(t);
  const id = await make('fridge');
  const steps = [
    `tsvm save -o ${folder}/fridge.tar fridge`,
    'tsvm rmi fridge',
    `tsvm load -i ${folder}/fridge.tar`,
  ];
  const { code, stdout, stderr } = sh(steps.join(' && '));
  assert.equal(code, 0, stderr);
  assert.match(stdout, /Loaded image: fridge:latest\n$/);
  assert.equal(sh('tsvm images -q --no-trunc').stdout, `${id}\n`);
  for (const pack of ['cat', 'gzip', 'zstd -q', 'xz', 'bzip2']) {
    const piped = sh(`tsvm save fridge | ${pack} > x && tsvm rmi -f fridge && cat x | tsvm load`);
    assert.match(piped.stdout, /Loaded image: fridge:latest\n$/, piped.stderr);
  }
  sh('tsvm save fridge > one && tsvm save fridge > two');
  execFileSync('cmp', [join(folder, 'one'), join(folder, 'two')]);
});

test('save of a repository has all its tags, and of a tag that alone', async (t) => {
  const { sh, make } = shell(t);
  const one = await make('tools/fridge:1');
  await make('tools/fridge:2');
  sh(`tsvm tag ${one} tools/fridge:3 && tsvm tag ${one} tools/fridges:1`);
  const names = (archive: string): string[] => {
    const entries: { RepoTags: string[] }[] = JSON.parse(
      sh(`tar -xOf ${archive} manifest.json`).stdout,
    );
    return entries.flatMap(({ RepoTags }) => RepoTags).sort();
  };
  sh('tsvm save -o all.tar tools/fridge && tsvm save -o some.tar tools/fridge:3');
  assert.deepEqual(names('all.tar'), ['tools/fridge:1', 'tools/fridge:2', 'tools/fridge:3']);
  assert.deepEqual(names('some.tar'), ['tools/fridge:3']);
});

test('history fridge', async (t) => {
  const { sh, make } = shell(t);
  const history = [
    {
      created: '2020-01-01T00:00:00Z',
      created_by: '/bin/sh -c #(nop) ADD file:0123456789 in / and much more',
    },
    {
      created: '2020-01-01T00:00:00Z',
      created_by: 'CMD ["sh"]',
      empty_layer: true,
      comment: 'buildkit',
    },
  ];
  const id = await make('fridge', { history });
  const lines = sh('tsvm history fridge').stdout.split('\n');
  assert.match(lines[0] ?? '', /^IMAGE +CREATED +CREATED BY +SIZE +COMMENT$/);
  assert.match(
    lines[1] ?? '',
    new RegExp(`^${short(id)} +\\d years ago +CMD \\["sh"\\] +0B +buildkit$`),
  );
  assert.match(
    lines[2] ?? '',
    /^<missing> +\d years ago +\/bin\/sh -c #\(nop\) ADD file:0123456789 in \/ a… +1kB +$/,
  );
  assert.match(sh('tsvm history --no-trunc -q fridge').stdout, new RegExp(`^${id}\n<missing>\n$`));
});

test('inspect', async (t) => {
  const { sh, make } = shell(t);
  const id = await make('fridge', { run: { Cmd: ['/x', 'y'], Env: ['A=1', 'B=2'] } });
  const [image] = JSON.parse(sh('tsvm inspect fridge').stdout);
  assert.equal(image.Id, id);
  assert.deepEqual(image.Config.Cmd, ['/x', 'y']);
  assert.equal(
    sh("tsvm inspect -f '{{range .Config.Env}}{{println .}}{{end}}' fridge").stdout,
    'A=1\nB=2\n\n',
  );
  assert.equal(sh("tsvm image inspect --format '{{.Id}}' fridge").stdout, `${id}\n`);
  const missing = sh('tsvm inspect fridge nope');
  assert.equal(missing.code, 1);
  assert.equal(JSON.parse(missing.stdout).length, 1);
  assert.equal(missing.stderr, 'error: no such object: nope\n');
  assert.deepEqual([sh('tsvm inspect nope').stdout, sh('tsvm inspect nope').code], ['[]\n', 1]);
  assert.equal(sh("tsvm inspect -f '{{.Nope' fridge").code, 64);
});

test('errors have Docker\u2019s messages and exit codes', async (t) => {
  const { sh, make } = shell(t);
  const id = await make('one/a:x');
  await make('one/b');
  sh(`tsvm tag ${id} two/a:x`);
  const cases: readonly (readonly [string, number, RegExp])[] = [
    [
      'tsvm rmi',
      1,
      /^tsvm: 'tsvm rmi' requires at least 1 argument\n\nUsage: {2}tsvm rmi \[OPTIONS\] IMAGE \[IMAGE\.\.\.\]\n\nSee 'tsvm rmi --help' for more information\n$/,
    ],
    ['tsvm images --nope', 125, /^unknown flag: --nope\n\nUsage: {2}tsvm images /],
    ['tsvm images -z', 125, /^unknown shorthand flag: 'z' in -z\n/],
    ['tsvm images a b', 1, /^tsvm: 'tsvm images' requires at most 1 argument\n/],
    ['tsvm tag a', 1, /^tsvm: 'tsvm tag' requires 2 arguments\n/],
    ['tsvm images -f', 125, /^flag needs an argument: 'f' in -f\n/],
    ['tsvm images --filter', 125, /^flag needs an argument: --filter\n/],
    ['tsvm rmi nope', 1, /^Error response from daemon: No such image: nope:latest\n$/],
    [
      'tsvm rmi UPPER',
      1,
      /^Error response from daemon: invalid reference format: repository name \(library\/UPPER\) must be lowercase\n$/,
    ],
    ['tsvm tag nope x', 1, /^Error response from daemon: No such image: nope:latest\n$/],
    [
      'tsvm tag one/b UPPER',
      1,
      /^Error parsing reference: "UPPER" is not a valid repository\/tag: invalid reference format/,
    ],
    ['tsvm save nope', 1, /^Error response from daemon: No such image: nope\n$/],
    ['tsvm save nope:1', 1, /^Error response from daemon: reference does not exist\n$/],
    ['tsvm save -o /tmp one/b', 1, /^failed to save image: cannot write to a directory\n$/],
    // It was replaced by the archive: /dev/stdout of the host, say.
    [
      'ln -s /proc/self/fd/1 link && tsvm save -o link one/b',
      1,
      /^failed to save image: cannot write to a symbolic link directly\n$/,
    ],
    [
      'mkfifo pipe && tsvm save -o pipe one/b',
      1,
      /^failed to save image: cannot write to a named pipe \(FIFO\)\n$/,
    ],
    [
      'tsvm save -o /dev/null one/b',
      1,
      /^failed to save image: cannot write to a character device file\n$/,
    ],
    ['tsvm save -o /nope/x one/b', 1, /^failed to save image: invalid output path: stat \/nope: /],
    [
      'tsvm inspect --type x one/b',
      1,
      /^unknown type: "x": must be one of "config", "container", /,
    ],
    [
      'tsvm images -f bad',
      125,
      /for "-f, --filter" flag: bad format of filter \(expected name=value\)\n/,
    ],
    ['tsvm images --no-trunc=false --quiet=false --nope', 125, /^unknown flag: --nope\n/],
    [
      'tsvm login --password-stdin',
      1,
      /^the --password-stdin option requires --username to be set\n$/,
    ],
    ['tsvm login', 1, /^Error: Cannot perform an interactive login from a non TTY device\n$/],
    ['tsvm images -q=maybe', 125, /^invalid argument "maybe" for "-q, --quiet" flag: /],
    ['tsvm pull "a b"', 1, /^invalid reference format\n$/],
    [
      'tsvm pull -q localhost:99999/a',
      1,
      /invalid address "https:\/\/localhost:99999": .* port\n$/,
    ],
    ['tsvm import http://localhost:99999/a', 1, /^invalid address .*: check its host and port\n$/],
    ['tsvm push nope', 1, /An image does not exist locally with the tag: nope/],
    ['tsvm load -i /nope', 1, /^open \/nope: no such file or directory\n$/],
    ['tsvm load < /dev/null', 1, /neither an index\.json nor a manifest\.json/],
    ['tsvm image nope', 1, /unknown verb "nope"/],
    [
      `tsvm rmi ${short(id)}`,
      1,
      /^Error response from daemon: conflict: unable to delete [0-9a-f]{12} \(must be forced\) - image is referenced in multiple repositories\n$/,
    ],
  ];
  for (const [line, code, message] of cases) {
    const result = sh(line);
    assert.match(result.stderr, message, line);
    assert.equal(result.code, code, line);
  }
  assert.equal(sh('tsvm rmi -f nope').code, 0);
  assert.equal(sh(`tsvm rmi -f ${short(id)}`).code, 0);
});

test('image prune, and system df', async (t) => {
  const { sh, make } = shell(t);
  await make('stays');
  await make(undefined);
  assert.match(
    sh('tsvm system df').stdout,
    /^TYPE +TOTAL +ACTIVE +SIZE +RECLAIMABLE\nImages +2 +0 /,
  );
  assert.match(sh('tsvm image prune', 'n\n').stdout, /This will remove all dangling images/);
  assert.equal(sh('tsvm images -q | wc -l').stdout.trim(), '2');
  assert.match(
    sh('tsvm image prune -f').stdout,
    /^Deleted Images:\ndeleted: sha256:.*\n\nTotal reclaimed space: [1-9]/s,
  );
  assert.equal(sh('tsvm images -q | wc -l').stdout.trim(), '1');
  assert.match(
    sh('tsvm system prune -a', 'n\n').stdout,
    /^WARNING! This will remove:\n {2}- all stopped containers\n {2}- all networks not used by at least one container\n {2}- all images without at least one container associated to them\n {2}- all machines that were saved for warm starts\n\nAre you sure you want to continue\? \[y\/N\] /,
  );
  assert.match(sh('tsvm system prune -f').stdout, /^Total reclaimed space: 0B\n$/);
  assert.match(sh('tsvm image prune -a', 'y\n').stdout, /untagged: stays:latest/);
  assert.equal(sh('tsvm images -q').stdout, '');
});

test('help lists every verb, and each verb has examples', (t) => {
  const { sh } = shell(t);
  const groups = ['', 'container', 'image', 'network', 'system', 'volume'];
  const helps = new Map(
    groups.map((group) => {
      const { code, stdout } = sh(`tsvm ${group} --help`);
      assert.equal(code, 0);
      return [group, stdout];
    }),
  );
  for (const name of [...CONTAINER_VERBS, ...CONTAINER_COMMANDS, ...REGISTRY_COMMANDS]) {
    const [group = '', verb = name] = name.split(' ');
    if (groups.includes(name) || verb === 'list' || verb === 'remove') continue;
    const isGrouped = groups.includes(group) && group !== 'system';
    const help = helps.get(isGrouped ? group : '');
    assert.match(help ?? '', new RegExp(`^  ${isGrouped ? verb : name} +[A-Z]`, 'm'));
    const own = sh(`tsvm ${name} --help`);
    assert.equal(own.code, 0);
    assert.match(own.stdout, new RegExp(`^Usage: tsvm ${name} `));
    assert.match(own.stdout, /^Examples:\n {2}\S/m, name);
  }
  assert.match(helps.get('container') ?? '', /^ {2}run +[A-Z]/m);
  assert.match(helps.get('') ?? '', /^ {2}network +Manage networks$/m);
  assert.match(helps.get('system') ?? '', /^ {2}df +[A-Z]/m);
  assert.equal(sh('tsvm help pull').stdout, 'See "tsvm pull --help".\n');
});

test('failing to write a list is an error, a reader that leaves is not', async (t) => {
  const { sh, make } = shell(t);
  await make('fridge');
  for (const command of ['images', 'history fridge', 'inspect fridge', 'system df']) {
    const full = sh(`tsvm ${command} > /dev/full`);
    assert.notEqual(full.code, 0, command);
    assert.match(full.stderr, /standard output cannot be written: .*ENOSPC/, command);
    assert.equal(sh(`tsvm ${command} | true`).stderr, '', command);
  }
  assert.equal(sh('tsvm save fridge | true').stderr, '');
  const { code, stderr } = sh('tsvm save fridge > /dev/full');
  assert.equal(code, 1);
  assert.match(stderr, /^standard output cannot be written: .*ENOSPC[^\n]*\n$/);
});

test('tsvm image is for disk images as well', (t) => {
  const { sh, folder } = shell(t);
  assert.equal(sh(`tsvm image create ${folder}/disk.qcow2 1M`).code, 0);
  assert.match(sh(`tsvm image info ${folder}/disk.qcow2`).stdout, /file format: qcow2/);
});

test('import, with changes', async (t) => {
  const { sh, folder } = shell(t);
  writeFileSync(join(folder, 'tree.tar'), makeTar([{ name: 'x', data: 'x' }]));
  const changes = `-c 'CMD ["a","b"]' -c 'ENTRYPOINT run it' -c 'ENV A=1 B="2 3"' -c 'EXPOSE 80 53/udp' -c 'USER u' -c 'WORKDIR /w' -c 'LABEL l=m'`;
  const { code, stdout, stderr } = sh(`tsvm import ${changes} -m why tree.tar made:1`);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^sha256:[0-9a-f]{64}\n$/);
  assert.deepEqual(JSON.parse(sh("tsvm inspect -f '{{json .Config}}' made:1").stdout), {
    Cmd: ['a', 'b'],
    Entrypoint: ['/bin/sh', '-c', 'run it'],
    Env: ['A=1', 'B=2 3'],
    ExposedPorts: { '80/tcp': {}, '53/udp': {} },
    User: 'u',
    WorkingDir: '/w',
    Labels: { l: 'm' },
  });
  assert.match(sh(`tsvm import -c 'RUN x' tree.tar`).stderr, /instruction is not supported here/);
  assert.match(sh('mkdir -p folder; tsvm import folder x').stderr, /^read folder: is a directory/);
});

test('import: packed as root file systems of distributions are, or cut off', (t) => {
  const { sh, folder } = shell(t);
  const data = randomBytes(200_000).toString('hex');
  writeFileSync(join(folder, 'tree.tar'), makeTar([{ name: 'x', data }]));
  for (const pack of ['xz', 'bzip2']) {
    const { code, stderr } = sh(`${pack} -k tree.tar; tsvm import tree.tar.* made:${pack}`);
    assert.equal(code, 0, stderr);
    // The layer is the archive, unpacked.
    assert.match(
      sh(`tsvm inspect -f '{{json .RootFS.Layers}}' made:${pack}`).stdout,
      new RegExp(sh('sha256sum <tree.tar').stdout.slice(0, 64)),
    );
    const cut = sh('head -c 100000 tree.tar.* >cut; rm tree.tar.*; tsvm import cut');
    assert.equal(cut.code, 1);
    assert.match(cut.stderr, new RegExp(`the archive is not a valid ${pack} stream: .+`));
  }
});

test('Ctrl-C amid a load from a pipe that has stalled ends it, and nothing is left', async (t) => {
  const { sh, images, folder } = shell(t);
  const archive = makeTar([{ name: 'x', data: 'x'.repeat(100_000) }]);
  writeFileSync(join(folder, 'part'), archive.subarray(0, 50_000));
  const line = '(cat part; sleep 4) | timeout --preserve-status -s INT 2 tsvm load';
  assert.equal(sh(line).code, 130);
  assert.deepEqual(storeFaults(images), []);
});

test('control characters of an image do not reach the terminal', async (t) => {
  const { sh, make } = shell(t);
  await make('fridge', {
    history: [{ created_by: 'a\x1b]0;evil\x07b\x9b31m', comment: '\x1b[2J' }],
  });
  assert.doesNotMatch(sh('tsvm history --no-trunc fridge').stdout.replaceAll('\n', ''), /\p{Cc}/u);
});
