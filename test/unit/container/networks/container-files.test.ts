import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  hostsFile,
  ownNames,
  parseResolver,
  resolvConf,
  resolverSettings,
} from '../../../../vmm/container/networks/container-files.ts';

test('/etc/hosts has extra hosts before the container’s own names', () => {
  const own = [{ address: '10.0.2.15', names: ownNames('box', 'example.com') }];
  const lines = hostsFile(['db:10.0.0.9', 'six:::1', 'host:host-gateway'], '10.0.2.2', own).split(
    '\n',
  );
  assert.equal(lines[0], '127.0.0.1\tlocalhost');
  assert.deepEqual(lines.slice(-5), [
    '10.0.0.9\tdb',
    '::1\tsix',
    '10.0.2.2\thost',
    '10.0.2.15\tbox.example.com box',
    '',
  ]);
});

test('/etc/resolv.conf has what was given, and else the host’s search domains and options', () => {
  const host = parseResolver(
    'search old.example\nnameserver 1.2.3.4\n# search no.example\ndomain a.example b.example # c\noptions ndots:1 edns0\n',
  );
  assert.deepEqual(host, { search: ['a.example', 'b.example'], options: ['ndots:1', 'edns0'] });
  assert.equal(
    resolvConf(['9.9.9.9'], resolverSettings({ dnsSearch: [], dnsOptions: [] }, host)),
    'nameserver 9.9.9.9\nsearch a.example b.example\noptions ndots:1 edns0\n',
  );
  assert.equal(
    resolvConf(
      ['9.9.9.9'],
      resolverSettings({ dnsSearch: ['x.example'], dnsOptions: ['ndots:5'] }, host),
    ),
    'nameserver 9.9.9.9\nsearch x.example\noptions ndots:5\n',
  );
  assert.equal(
    resolvConf([], resolverSettings({ dnsSearch: ['.'], dnsOptions: [] }, host)),
    'options ndots:1 edns0\n',
    'a dot: no search domains',
  );
});
