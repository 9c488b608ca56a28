/** `--net`: what it refuses with which advice, and what it leaves behind. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { NEEDS_ROOT, NetworkNamespace } from '../../support/network-namespace.ts';
import { PAYLOAD, runPayload, runShell, runTsvm } from '../../support/tsvm-process.ts';

const NETWORK = ['--net', 'user,hostfwd=8080:80'];

test('network devices are at their places, in the order of the options', NEEDS_ROOT, async (t) => {
  const setup = 'ip tuntap add tap0 mode tap; ip link set tap0 up';
  const { enter } = await NetworkNamespace.create(t, { setup });
  const { stdout, stderr } = await runPayload(
    'tests=memory memory=0',
    ['--net', 'user', '--net', 'tap=tap0', '--net', 'none'],
    { through: enter },
  );
  assert.equal(stdout.match(/^device id=1 /gm)?.length, 2, stdout + stderr);
});

test('without passt, --net user says how to get it', async () => {
  const { stderr, code } = await runPayload('tests=memory', ['--net', 'user'], {
    env: { PATH: '/nonexistent' },
    through: ['/usr/bin/env'],
  });
  assert.match(stderr, /^tsvm: passt is not installed.*apt-get install passt$/m);
  assert.equal(stderr.trim().split('\n').length, 1, stderr);
  assert.equal(code, 125);
});

test('a port that is in use is refused by name', NEEDS_ROOT, async (t) => {
  const namespace = await NetworkNamespace.create(t);
  const server = namespace.start(
    t,
    process.execPath,
    '-e',
    'require("net").createServer().listen(8080, "127.0.0.1", () => console.log("ready"))',
  );
  await once(server.stdout ?? server, 'data');
  const { stderr, code } = await runPayload('tests=memory', NETWORK, { through: namespace.enter });
  assert.match(stderr, /^tsvm: passt does not start: .*127\.0\.0\.1\/8080.*another host port/m);
  assert.equal(code, 125);
});

test(
  'tap devices that are missing, in use or of another kind are refused with advice',
  NEEDS_ROOT,
  async (t) => {
    const setup = 'ip tuntap add tap1 mode tap; ip tuntap add tap2 mode tap multi_queue';
    const { enter } = await NetworkNamespace.create(t, { setup });
    for (const [net, message] of [
      ['tap=none', /there is no network interface none\. As root: ip tuntap add none mode tap /],
      ['tap=lo', /lo is no tap device/],
      ['tap=tap2', /use queues=N/],
      ['tap=tap1,queues=2', /no tap device of several queues.*multi_queue/],
    ] as const) {
      const { stderr, code } = await runPayload('tests=memory', ['--net', net], { through: enter });
      assert.match(stderr, message);
      assert.equal(code, 125, net);
    }
    const { stderr } = await runPayload(
      'tests=memory',
      ['--net', 'tap=tap1', '--net', 'tap=tap1'],
      {
        through: enter,
      },
    );
    assert.match(stderr, /the tap device tap1 is in use/);
  },
);

test('--net refuses unknown values as command line errors', async () => {
  for (const net of ['bridge', 'user,hostfwd=80', 'user,mtu=1', 'user,mac=1']) {
    const { stderr, code } = await runTsvm(['boot', '--kernel', PAYLOAD, '--net', net]);
    assert.equal(code, 2, stderr);
  }
});

test(
  'passt ends with the machine, its port is free at once; also after a SIGKILL',
  NEEDS_ROOT,
  async (t) => {
    const namespace = await NetworkNamespace.create(t);
    for (const signal of ['TERM', 'KILL']) {
      const { stdout } = await runShell(
        `set -- ${namespace.enter.join(' ')}
      "$@" "$TSVM" boot --acpi off --kernel "$PAYLOAD" --append tests=serial-echo ${NETWORK.join(' ')} >out </dev/zero & vm=$!
      until grep -qs echo out; do sleep 0.05; done
      "$@" ss -Hltn | grep -c 127.0.0.1:8080
      kill -${signal} $vm; wait $vm; echo "code $?"
      ${signal === 'KILL' ? 'for i in $(seq 600); do "$@" ss -Hltn | grep -q :8080 || break; sleep 0.1; done' : ''}
      "$@" ss -Hltn | grep -c :8080`,
      );
      assert.equal(stdout, `1\ncode ${signal === 'TERM' ? 143 : 137}\n0\n`, signal);
    }
  },
);

test('when passt dies, the network fails but the machine continues', NEEDS_ROOT, async (t) => {
  const namespace = await NetworkNamespace.create(t);
  const { stdout, stderr } = await runShell(
    `set -- ${namespace.enter.join(' ')}
    "$@" "$TSVM" boot --acpi off --kernel "$PAYLOAD" --append tests=serial-echo ${NETWORK.join(' ')} >out </dev/zero & vm=$!
    until grep -qs echo out; do sleep 0.05; done
    kill $("$@" ss -Hltnp | sed -n 's/.*8080.*pid=\\([0-9]*\\).*/\\1/p')
    while "$@" ss -Hltn | grep -q :8080; do sleep 0.05; done
    kill -0 $vm && echo runs; kill $vm; wait $vm; echo "code $?"`,
  );
  assert.equal(stdout, 'runs\ncode 143\n', stderr);
});
