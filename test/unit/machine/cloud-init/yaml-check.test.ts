/** What we find wrong in YAML, with cloud-init's own reader as the oracle. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { seedFiles } from '../../../../vmm/machine/cloud-init/seed.ts';
import { checkYaml } from '../../../../vmm/machine/cloud-init/yaml-check.ts';
import { runWithCloudInit } from '../../../support/cloud-init.ts';
import { temporaryFolder } from '../../../support/tsvm-process.ts';

const GOOD = [
  '',
  '# nothing\n',
  '{}\n',
  'null\n',
  'hostname: web\n',
  '---\na: 1\n...\n',
  'a: 0777\nb: yes\nc: 1:20\n',
  'a: 1\na: 2\n',
  'a: &x 1\nb: *x\n',
  '<<: {a: 1}\nb: 2\n',
  'a: [x,\ny]\nb: 1\n',
  'packages: [\ncurl,\nvim\n]\n',
  'a: {\nb: 1\n}\n',
  'a: "many\nlines"\n',
  "a: 'many\n\nlines\nof text'\nb: c\n",
  'runcmd:\n- [ls, -l]\n- echo "a: b"\n',
  'write_files:\n- path: /x\n  content: |\n    #!/bin/sh\n    \techo\n',
  'a: b\r\nc: d\r\n',
  'a: é\n',
];

/** A mistake, and where it is said to be. */
const BAD: readonly (readonly [yaml: string, place: RegExp])[] = [
  ['a: [1, 2\nb: c\n', /line 2, column 1: Flow sequence/],
  ['a: [1, 2\n', /line 2, column 1: Flow sequence/],
  ['a: b: c\n', /line 1, column 4: Nested mappings/],
  ['a:\n\tb: c\n', /line 2, column 1: Tabs/],
  ['a: "x\nb: "y"\n', /line 1, column 6: Missing closing "quote/],
  ['a: 1\n b: 2\n', /line 1, column 4: /],
  [' a: 1\nb: 2\n', /line 2, column 1: /],
  ['a:\n  - x\n - y\n', /line 3, column 1: /],
  ['runcmd:\n - echo a: b\n - x: y: z\n', /line 3, column 7: Nested mappings/],
  ['a: @x\n', /line 1, column 4: /],
  ['hostname: {{ name }}\n', /line 1, column 12: .*needs quotes/],
  ['a: *nothing\n', /line 1, column 4: nothing before is called &nothing/],
  ['a: 1\n---\nb: 2\n', /line 2, column 1: a second document/],
  ['- a\n- b\n', /line 1, column 1: it has no settings by names/],
  ['just text\n', /line 1, column 1: it has no settings by names/],
];

test('mistakes are those that cloud-init finds, and what it reads is none', (context) => {
  for (const text of GOOD) checkYaml('good.yaml', Buffer.from(text));
  for (const [text, place] of BAD) {
    const check = () => checkYaml('bad.yaml', Buffer.from(text));
    const message = new RegExp(
      `^cloud-init would ignore bad\\.yaml, which is not valid YAML: ${place.source}`,
    );
    assert.throws(check, { code: 'invalid-config', message }, text);
  }
  const path = join(temporaryFolder(context), 'cases.json');
  writeFileSync(path, JSON.stringify([...GOOD, ...BAD.map(([text]) => text)]));
  const script = `
import json, sys
from cloudinit import util
for text in json.load(open(sys.argv[1])):
    print('read' if util.load_yaml(text, default='BAD') != 'BAD' else 'ignored')
`;
  const { output } = runWithCloudInit(['-c', script, path]);
  const verdicts = output.split('\n').filter((line) => /^(?:read|ignored)$/.test(line));
  // It takes what is empty for its default.
  const expected = GOOD.map((text) =>
    /^(?:|# nothing\n|null\n)$/.test(text) ? 'ignored' : 'read',
  );
  assert.deepEqual(verdicts, [...expected, ...BAD.map(() => 'ignored')]);
});

test('the files of a guest are checked, unless they are no YAML', (context) => {
  const folder = temporaryFolder(context);
  const write = (content: string | Uint8Array) => {
    const path = join(folder, 'file');
    writeFileSync(path, content);
    return path;
  };
  const broken = 'a: [1\nb: "\n';
  const refusal = { code: 'invalid-config', message: /file, which is not valid YAML: line [123]/ };
  for (const content of [`#cloud-config\n${broken}`, `#Cloud-Config \r\n${broken}`]) {
    assert.throws(() => seedFiles({ userDataPath: write(content) }), refusal, content);
  }
  assert.throws(() => seedFiles({ metaDataPath: write(broken) }), refusal);
  assert.throws(() => seedFiles({ networkConfigPath: write(broken) }), refusal);
  const others = [
    ...['#!/bin/sh\n', '#include\n', '#include-once\n', '#cloud-boothook\n', '#part-handler\n'],
    ...['#cloud-config-archive\n', '#cloud-config-jsonp\n', '## template: jinja\n#cloud-config\n'],
    ...['Content-Type: multipart/mixed\n', 'MIME-Version: 1.0\n', 'From nobody\n'],
  ].map((header) => Buffer.from(header + broken));
  for (const content of [...others, gzipSync(`#cloud-config\n${broken}`)]) {
    const files = seedFiles({ userDataPath: write(content) });
    assert.ok(content.equals(files.get('user-data') ?? new Uint8Array()), content.toString());
  }
});

test('a file that is deep or long is checked in bounded time', () => {
  const deep = Buffer.from(`a: ${'['.repeat(100_000)}`);
  assert.throws(() => checkYaml('deep.yaml', deep), { code: 'invalid-config' });
  // Parsed, it would need minutes.
  checkYaml('long.yaml', Buffer.from(`a: [1\n${'- b: c\n'.repeat(2_000_000)}`));
});
