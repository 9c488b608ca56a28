import { execFileSync } from 'node:child_process';

export interface PrometheusSample {
  readonly family: string;
  readonly type: string;
  readonly help: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const PROGRAM = `
import json, sys
from prometheus_client.parser import text_string_to_metric_families
print(json.dumps([
    {"family": f.name, "type": f.type, "help": f.documentation,
     "name": s.name, "labels": s.labels, "value": s.value}
    for f in text_string_to_metric_families(sys.stdin.read()) for s in f.samples]))
`;

/** Parses Prometheus' text format with the parser of its Python client. Throws if it is invalid. */
export function parsePrometheus(text: string): PrometheusSample[] {
  const output = execFileSync('/usr/bin/python3', ['-c', PROGRAM], {
    input: text,
    encoding: 'utf8',
  });
  return JSON.parse(output) as PrometheusSample[];
}
