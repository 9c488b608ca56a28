import { TsvmError } from '../../../errors.ts';

/** A piece of a template, and where it begins. */
export interface Token {
  readonly kind:
    | 'text'
    | 'open'
    | 'close'
    | 'field'
    | 'variable'
    | 'word'
    | 'string'
    | 'number'
    | 'mark';
  readonly text: string;
  /** In the whole template, in characters. */
  readonly at: number;
}

export function templateError(message: string): TsvmError {
  return new TsvmError('invalid-config', `template parsing error: template: ${message}`);
}

/** Tokens inside an action: Go's text/template, "Actions" and "Arguments". */
const ACTION =
  /\s+|(?<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)|(?<field>\.[\p{L}_][\p{L}\p{N}_]*)|(?<variable>\$[\p{L}\p{N}_]*)|(?<number>[+-]?\d+(?:\.\d+)?)|(?<word>[\p{L}_][\p{L}\p{N}_]*)|(?<mark>:=|[().,|=])/uy;
const COMMENT = /\{\{-?\s*\/\*[\s\S]*?\*\/\s*-?\}\}/y;

/** Cuts a template into text and the parts of its actions. */
export function tokenize(template: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  let trim = false;
  while (at < template.length) {
    const open = template.indexOf('{{', at);
    const textEnd = open < 0 ? template.length : open;
    let text = template.slice(at, textEnd);
    if (trim) text = text.trimStart();
    const trimsBefore = open >= 0 && /^\{\{-\s/.test(template.slice(open, open + 4));
    if (trimsBefore) text = text.trimEnd();
    if (text !== '') tokens.push({ kind: 'text', text, at });
    if (open < 0) break;
    COMMENT.lastIndex = open;
    const comment = COMMENT.exec(template)?.[0];
    if (comment !== undefined) {
      at = open + comment.length;
      trim = comment.endsWith('-}}');
      continue;
    }
    tokens.push({ kind: 'open', text: '{{', at: open });
    ({ at, trim } = action(template, open + (trimsBefore ? 3 : 2), tokens));
  }
  return tokens;
}

function action(template: string, start: number, tokens: Token[]): { at: number; trim: boolean } {
  for (let at = start; ; ) {
    const end = /^(?:\s-)?\}\}/.exec(template.slice(at, at + 4))?.[0];
    if (end !== undefined) {
      tokens.push({ kind: 'close', text: '}}', at });
      return { at: at + end.length, trim: end.includes('-') };
    }
    ACTION.lastIndex = at;
    const match = ACTION.exec(template);
    if (match === null) throw badCharacter(template, at);
    const groups = Object.entries(match.groups ?? {});
    const [kind] = groups.find(([, text]) => text !== undefined) ?? [];
    if (kind !== undefined) tokens.push({ kind: kind as Token['kind'], text: match[0], at });
    at += match[0].length;
  }
}

function badCharacter(template: string, at: number): TsvmError {
  const where = `:${position(template, at).line}`;
  const character = template[at];
  if (character === undefined) return templateError(`${where}: unclosed action`);
  if (character === '"') return templateError(`${where}: unterminated quoted string`);
  return templateError(`${where}: unexpected ${JSON.stringify(character)} in command`);
}

/** As Go says where something is: lines from 1, columns from 0. */
export function position(template: string, at: number): { line: number; column: number } {
  const before = template.slice(0, at);
  const line = before.split('\n').length;
  return { line, column: at - (before.lastIndexOf('\n') + 1) };
}
