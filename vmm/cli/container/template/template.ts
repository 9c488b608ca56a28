import type { TsvmError } from '../../../errors.ts';
import { FUNCTIONS, type TemplateFunction } from './functions.ts';
import { type Field, type Node, type Operand, type Pipeline, parseTemplate } from './parse.ts';
import { templateError } from './tokens.ts';
import { isRecord, isTruthy, showValue } from './values.ts';

const NAMES: ReadonlySet<string> = new Set(Object.keys(FUNCTIONS));

/** A template that is ready to be filled in. */
export class Template {
  readonly #nodes: readonly Node[];

  /** @throws TsvmError `invalid-config` */
  constructor(text: string) {
    this.#nodes = parseTemplate(text, NAMES);
  }

  /**
   * @param typeName Go's name of the value's type, for messages about fields that it does not have
   * @throws TsvmError `invalid-config`
   */
  fill(value: unknown, typeName?: string, functions = FUNCTIONS): string {
    return new Filling(value, typeName, functions).list(this.#nodes, value);
  }
}

class Filling {
  readonly #typeName: string | undefined;
  readonly #functions: Readonly<Record<string, TemplateFunction>>;
  readonly #root: unknown;
  /** The innermost scope is the last. */
  readonly #scopes: Map<string, unknown>[];

  constructor(
    root: unknown,
    typeName: string | undefined,
    functions: Readonly<Record<string, TemplateFunction>>,
  ) {
    this.#root = root;
    this.#typeName = typeName;
    this.#functions = functions;
    this.#scopes = [new Map([['$', root]])];
  }

  list(nodes: readonly Node[], dot: unknown): string {
    let text = '';
    for (const node of nodes) text += this.#node(node, dot);
    return text;
  }

  #node(node: Node, dot: unknown): string {
    if (node.kind === 'text') return node.text;
    if (node.kind === 'show') {
      const value = this.#pipeline(node.pipeline, dot);
      return node.pipeline.declares.length > 0 ? '' : showValue(value);
    }
    this.#scopes.push(new Map());
    try {
      if (node.kind === 'range') return this.#range(node, dot);
      const value = this.#pipeline(node.pipeline, dot);
      const inner = node.kind === 'with' ? value : dot;
      return isTruthy(value) ? this.list(node.then, inner) : this.list(node.otherwise, dot);
    } finally {
      this.#scopes.pop();
    }
  }

  #range(node: Exclude<Node, { kind: 'text' | 'show' }>, dot: unknown): string {
    const { pipeline, then, otherwise } = node;
    const value = this.#pipeline({ ...pipeline, declares: [] }, dot);
    if (!isTruthy(value)) return this.list(otherwise, dot);
    const pairs: (readonly [unknown, unknown])[] = Array.isArray(value)
      ? value.map((item, index) => [index, item] as const)
      : isRecord(value)
        ? Object.keys(value)
            .sort()
            .map((key) => [key, value[key]] as const)
        : [];
    if (pairs.length === 0) throw templateError(`: range can't iterate over ${showValue(value)}`);
    const [first, second] = pipeline.declares;
    return pairs
      .map(([key, item]) => {
        if (second !== undefined && first !== undefined) this.#set(first, key, pipeline.assigns);
        const named = second ?? first;
        if (named !== undefined) this.#set(named, item, pipeline.assigns);
        return this.list(then, item);
      })
      .join('');
  }

  #pipeline({ commands, declares, assigns }: Pipeline, dot: unknown): unknown {
    const [first, ...others] = commands;
    let value = first && this.#operand(first, dot);
    for (const command of others) value = this.#operand(command, dot, [value], true);
    for (const name of declares) this.#set(name, value, assigns);
    return value;
  }

  #operand(
    operand: Operand,
    dot: unknown,
    piped: readonly unknown[] = [],
    isPiped = false,
  ): unknown {
    if (isPiped && operand.kind !== 'call') throw templateError(': a value is no function');
    switch (operand.kind) {
      case 'literal':
        return operand.value;
      case 'variable':
        return this.#get(operand.name);
      case 'pipe':
        return this.#pipeline(operand.pipeline, dot);
      case 'path': {
        const { base, fields } = operand;
        let value = base === undefined ? dot : this.#operand(base, dot);
        for (const field of fields) value = this.#field(value, field);
        return value;
      }
      case 'method': {
        const method = this.#operand(operand.method, dot);
        if (typeof method !== 'function') {
          throw templateError(": can't give argument to non-function");
        }
        return method(...operand.args.map((arg) => this.#operand(arg, dot)));
      }
      case 'call': {
        const args = operand.args.map((arg) => this.#operand(arg, dot));
        return this.#call(operand.name, [...args, ...piped]);
      }
    }
  }

  #call(name: string, args: unknown[]): unknown {
    try {
      return this.#functions[name]?.(...args);
    } catch (error) {
      if (!(error instanceof TypeError || error instanceof RangeError)) throw error;
      throw templateError(`: executing "" at <${name}>: error calling ${name}: ${error.message}`);
    }
  }

  #field(value: unknown, field: Field): unknown {
    const { name } = field;
    if (isRecord(value)) {
      if (Object.hasOwn(value, name)) return value[name];
      throw this.#noField(field, value === this.#root);
    }
    throw templateError(
      `:${field.where}: executing "" at <${field.shown}>: can't evaluate field ${name} in type ` +
        (value === null || value === undefined ? 'interface {}' : typeof value),
    );
  }

  #noField({ name, where, shown }: Field, ofRoot: boolean): TsvmError {
    const what =
      ofRoot && this.#typeName !== undefined
        ? `can't evaluate field ${name} in type ${this.#typeName}`
        : `map has no entry for key ${JSON.stringify(name)}`;
    return templateError(`:${where}: executing "" at <${shown}>: ${what}`);
  }

  #get(name: string): unknown {
    const scope = this.#scopes.findLast((one) => one.has(name));
    if (scope === undefined) throw templateError(`: undefined variable ${JSON.stringify(name)}`);
    return scope.get(name);
  }

  #set(name: string, value: unknown, assigns: boolean): void {
    const scope = assigns ? this.#scopes.findLast((one) => one.has(name)) : this.#scopes.at(-1);
    if (scope === undefined) throw templateError(`: undefined variable ${JSON.stringify(name)}`);
    scope.set(name, value);
  }
}
