/** Finds mistakes in YAML that cloud-init would only tell in the guest's log, and go on without the file. */
import {
  type Document,
  isCollection,
  isMap,
  type ParsedNode,
  parseDocument,
  visit,
  type YAMLParseError,
} from 'yaml';
import { TsvmError } from '../../errors.ts';

/** `#cloud-config-archive` and `#cloud-config-jsonp` are other formats. */
const CLOUD_CONFIG = /^#cloud-config(?!-)/i;
/** Clouds take 16 KiB. A file of megabytes would be parsed for seconds, with a gigabyte of memory. */
const CHECKED_BYTES_MAX = 128 * 1024;
/** How often {@link findMistake} makes up for a line without indentation. */
const UNINDENTED_MAX = 50;
/** Deeper than what it is part of. */
const INDENTATION = ' '.repeat(80);

/** Whether user data is YAML: not a script, MIME, a template or a list of addresses. */
export function isCloudConfig(content: Uint8Array): boolean {
  return CLOUD_CONFIG.test(Buffer.from(content.subarray(0, 64)).toString('latin1'));
}

/**
 * Checks that a file is YAML with settings by their names, or empty. What the settings mean is the guest's
 * matter, whose cloud-init may be older or newer.
 * @throws TsvmError `invalid-config` with the place of the mistake
 */
export function checkYaml(path: string, content: Uint8Array): void {
  if (content.length > CHECKED_BYTES_MAX) return;
  const text = Buffer.from(content).toString('utf8');
  const mistake = findMistake(text);
  if (mistake === undefined) return;
  const { at, reason } = mistake;
  const before = text.slice(0, at);
  const line = before.split('\n').length;
  const column = at - before.lastIndexOf('\n');
  throw new TsvmError(
    'invalid-config',
    `cloud-init would ignore ${path}, which is not valid YAML: line ${line}, column ${column}: ${reason}`,
  );
}

interface Mistake {
  /** Characters before it. */
  readonly at: number;
  readonly reason: string;
}

/**
 * Parses as PyYAML does, which cloud-init uses: it does not mind how lines in brackets or quotes are
 * indented, against the specification.
 */
function findMistake(text: string): Mistake | undefined {
  let first: Mistake | undefined;
  let indented = text;
  for (let attempt = 0; attempt <= UNINDENTED_MAX; attempt++) {
    const document = parseDocument(indented, {
      // PyYAML knows 1.1, and takes the last of equal keys.
      version: '1.1',
      uniqueKeys: false,
      prettyErrors: false,
    });
    const [error] = document.errors;
    // What is found then has its place in the text as it is, or at least near.
    if (error === undefined) return mistakeOfContent(document);
    const isSecond = error.code === 'MULTIPLE_DOCS';
    const reason = isSecond ? 'a second document begins, after "---"' : error.message;
    first ??= { at: error.pos[0], reason };
    const at = unindentedLine(error);
    if (at === undefined || at >= indented.length) break;
    indented = indented.slice(0, at) + INDENTATION + indented.slice(at);
  }
  return first;
}

/** Where the line begins that lacks indentation, if that is what an error is about. */
function unindentedLine({ code, message, pos: [at] }: YAMLParseError): number | undefined {
  if (code === 'BAD_INDENT' && message.startsWith('Flow ')) return at;
  if (code === 'MISSING_CHAR' && message.startsWith('Missing closing ')) return at + 1;
  return undefined;
}

/** What YAML allows, and PyYAML or cloud-init do not. */
function mistakeOfContent(document: Document.Parsed): Mistake | undefined {
  const { contents } = document;
  const isEmpty = contents === null || ('value' in contents && contents.value === null);
  if (isEmpty) return undefined;
  if (!isMap(contents)) {
    return { at: contents.range[0], reason: 'it has no settings by names, as in "hostname: web"' };
  }
  let mistake: Mistake | undefined;
  const anchors = new Set<string>();
  visit(contents, {
    Node: (_, { anchor }) => {
      if (anchor !== undefined) anchors.add(anchor);
    },
    Alias: (_, { range, source }) => {
      if (anchors.has(source)) return undefined;
      mistake = { at: range?.[0] ?? 0, reason: `nothing before is called &${source}` };
      return visit.BREAK;
    },
    Pair: (_, { key }) => {
      if (!isCollection(key)) return undefined;
      const reason = 'a list or settings in place of a name: text with { or [ needs quotes';
      mistake = { at: (key as ParsedNode).range[0], reason };
      return visit.BREAK;
    },
  });
  return mistake;
}
