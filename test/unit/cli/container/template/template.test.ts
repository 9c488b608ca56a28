import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatList } from '../../../../../vmm/cli/container/template/formatted-list.ts';
import { Template } from '../../../../../vmm/cli/container/template/template.ts';

const VALUE = {
  Name: 'fridge',
  Empty: '',
  Count: 3,
  On: true,
  Tags: ['a', 'b'],
  Config: { Labels: { z: '1', a: '2' }, Env: null, Path: '<x>&' },
};

/** Expected by Go's text/template with the functions of Docker's client. */
const CASES: readonly (readonly [string, string])[] = [
  ['plain', 'plain'],
  ['{{.Name}}', 'fridge'],
  ['{{ .Name }}-{{.Count}}', 'fridge-3'],
  ['{{json .Tags}}', '["a","b"]'],
  ['{{json .Config.Path}}', '"<x>&"'],
  ['{{.Tags}}', '[a b]'],
  ['{{.Config.Labels}}', 'map[a:2 z:1]'],
  ['{{range .Tags}}<{{.}}>{{end}}', '<a><b>'],
  ['{{range $i, $t := .Tags}}{{$i}}={{$t}} {{end}}', '0=a 1=b '],
  ['{{range $k, $v := .Config.Labels}}{{$k}}:{{$v}};{{end}}', 'a:2;z:1;'],
  ['{{range .Empty}}x{{else}}none{{end}}', 'none'],
  ['{{range .Tags}}{{$.Name}}{{end}}', 'fridgefridge'],
  ['{{if .Empty}}yes{{else}}no{{end}}', 'no'],
  ['{{if .Empty}}a{{else if .On}}b{{else}}c{{end}}', 'b'],
  ['{{if and .Name (not .Empty)}}both{{end}}', 'both'],
  ['{{if eq .Count 3}}three{{end}}', 'three'],
  ['{{if or (eq .Name "x") (gt .Count 2)}}ok{{end}}', 'ok'],
  ['{{with .Config}}{{.Path}}{{end}}', '<x>&'],
  ['{{with $x := .Name}}{{$x}}{{end}}', 'fridge'],
  ['{{$x := .Name}}{{$x}}{{$x = "y"}}{{$x}}', 'fridgey'],
  ['{{join .Tags ", "}}', 'a, b'],
  ['{{.Name | upper | printf "%s!"}}', 'FRIDGE!'],
  ['{{upper (lower "AbC")}}', 'ABC'],
  ['{{title "some words"}}', 'Some Words'],
  ['{{split .Name "i" | json}}', '["fr","dge"]'],
  ['{{index .Tags 1}}{{index .Config.Labels "z"}}', 'b1'],
  ['{{len .Tags}}{{len .Name}}', '26'],
  ['{{pad .Name 1 2}}|', ' fridge  |'],
  ['{{truncate .Name 3}}', 'fri'],
  ['{{println .Name}}', 'fridge\n'],
  ['a  {{- .Count -}}  b', 'a3b'],
  ['{{/* nothing */}}x', 'x'],
  ['{{"quo\\"ted"}} {{`raw\\n`}}', 'quo"ted raw\\n'],
  ['{{(index .Tags 0) | upper}}', 'A'],
  [
    '{{.}}',
    'map[Config:map[Env:<nil> Labels:map[a:2 z:1] Path:<x>&] Count:3 Empty: Name:fridge On:true Tags:[a b]]',
  ],
];

for (const [template, expected] of CASES) {
  test(`template ${template}`, () => {
    assert.equal(new Template(template).fill(VALUE), expected);
  });
}

test('templates that are none say where', () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['{{', /:1: unclosed action/],
    ['{{.Name', /:1: unclosed action/],
    ['{{if .Name}}x', /unexpected EOF/],
    ['{{end}}', /unexpected \{\{end\}\}/],
    ['{{nope .Name}}', /function "nope" not defined/],
    ['{{constructor .Name}}', /function "constructor" not defined/],
    ['{{}}', /missing value for command/],
    ['{{.Name .Count}}', /can't give argument to non-function/],
    ['{{"open}}', /unterminated quoted string/],
    ['{{$y}}', /undefined variable "\$y"/],
    ['{{.Nope}}', /:1:2: executing "" at <\.Nope>: map has no entry for key "Nope"/],
    ['{{.constructor}}', /no entry for key "constructor"/],
    ['{{.Name.X}}', /can't evaluate field X in type string/],
    ['{{index .Tags 9}}', /error calling index: index out of range: 9/],
    ['{{upper .Count}}', /error calling upper: wrong type for value; expected string/],
    [`${'{{if .On}}'.repeat(200)}`, /too deeply nested/],
    [`{{${'('.repeat(200)}.Name}}`, /too deeply nested/],
  ];
  for (const [template, message] of cases) {
    assert.throws(
      () => new Template(template).fill(VALUE),
      { code: 'invalid-config', message },
      template,
    );
  }
});

const LIST = {
  typeName: '*formatter.imageContext',
  headings: { ID: 'IMAGE ID', Tag: 'TAG', Size: 'SIZE' },
};
const ROWS = [
  { ID: 'abc', Tag: 'latest', Size: '1MB' },
  { ID: 'de', Tag: 'a-long-tag', Size: '20MB' },
];

test('tables have columns of at least ten characters with three between them', () => {
  assert.equal(
    formatList('table {{.ID}}\t{{.Tag}}\t{{.Size}}', ROWS, LIST),
    'IMAGE ID   TAG          SIZE\nabc        latest       1MB\nde         a-long-tag   20MB\n',
  );
  assert.equal(
    formatList('table {{upper .Tag}}\\t{{.Size}}', ROWS.slice(0, 1), LIST),
    'TAG       SIZE\nLATEST    1MB\n',
  );
  assert.equal(formatList('{{.ID}}', ROWS, LIST), 'abc\nde\n');
  assert.equal(
    formatList('json', ROWS.slice(1), LIST),
    '{"ID":"de","Tag":"a-long-tag","Size":"20MB"}\n',
  );
});

test('an unknown field of a list is reported like Docker does', () => {
  assert.throws(() => formatList('{{.Nope}}', ROWS, LIST), {
    message:
      'template parsing error: template: :1:2: executing "" at <.Nope>: can\'t evaluate field Nope in type *formatter.imageContext',
  });
});
