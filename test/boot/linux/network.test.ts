/** Networks of a real guest: tap devices, and user networks by passt. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { packageRoot } from '../../../vmm/util/package-root.ts';
import { hostPrograms } from '../../support/guest-network.ts';
import { BOOT_TIMEOUT_MS, rootDisk } from '../../support/linux-guest.ts';
import { HOST_ADDRESS, NEEDS_ROOT, NetworkNamespace } from '../../support/network-namespace.ts';
import { type RunResult, runTsvm } from '../../support/tsvm-process.ts';

const SUPPORT = join(packageRoot(), 'test/support/network');
const RESOLVER = '127.0.0.53';
const ANSWER = '192.0.2.123';
const TRANSFER_ATTEMPTS = 200;

const TAP = `
ip tuntap add tap0 mode tap
ip address add 10.9.0.1/24 dev tap0
ip link set tap0 up
ip tuntap add tap1 mode tap multi_queue
ip address add 10.9.1.1/24 dev tap1
ip link set tap1 up
`;

interface Guest {
  readonly namespace: NetworkNamespace;
  readonly args: readonly string[];
  /** Lines for its shell. A word with quotes in it is not found in its own echo. */
  readonly script: string;
  /** Called once when the guest prints `serving`. */
  readonly onServing: () => Promise<void>;
}

async function runGuest(test: TestContext, guest: Guest): Promise<RunResult> {
  const disk = await rootDisk(test, hostPrograms('/usr/bin/iperf3'));
  let serving: Promise<void> | undefined;
  const result = await runTsvm(['boot', '--disk', disk, ...guest.args], {
    input: `${guest.script}\npoweroff\n`,
    through: guest.namespace.enter,
    timeoutMs: BOOT_TIMEOUT_MS,
    onStdout: (text) => {
      if (/^serving\r?$/m.test(text)) serving ??= guest.onServing();
    },
  });
  assert.ok(serving !== undefined, result.stdout + result.stderr);
  await serving;
  assert.equal(result.code, 0, result.stderr);
  return result;
}

/** A transfer of iperf3 to the guest, whose server is busy for a moment after the one before. */
async function transfer(namespace: NetworkNamespace, ...options: string[]): Promise<string> {
  const command = ['iperf3', '-t', '1', '-c', '127.0.0.1', ...options];
  for (let attempt = 1; attempt < TRANSFER_ATTEMPTS; attempt++) {
    try {
      return await namespace.run(command);
    } catch {
      await setTimeout(250);
    }
  }
  return await namespace.run(command);
}

/** iperf3's summaries of one side, which say `0.00 bits/sec` if nothing arrived. */
function transfers(stdout: string, side: 'sender' | 'receiver'): string[] {
  return stdout.match(new RegExp(`[1-9][\\d.]* [KMG]bits/sec.*${side}\\r?$`, 'gm')) ?? [];
}

function md5(data: string | Uint8Array): string {
  return createHash('md5').update(data).digest('hex');
}

test(
  'tap devices: iperf3 in both directions, all data arrives intact; multiple queues',
  NEEDS_ROOT,
  async (t) => {
    const namespace = await NetworkNamespace.create(t, { setup: TAP });
    const server = namespace.start(t, 'iperf3', '-s', '--forceflush');
    await once(server.stdout ?? server, 'data');
    const data = 'data that has to arrive whole '.repeat(100_000);
    let answer = '';
    const { stdout } = await runGuest(t, {
      namespace,
      args: [
        ...['--net', 'tap=tap0,mac=52:54:00:00:00:77,mtu=9000', '--cpus', '2'],
        ...['--net', 'tap=tap1,queues=2'],
      ],
      script: `
ip address add 10.9.0.2/24 dev eth0; ip address add 10.9.1.2/24 dev eth1
ip link show eth0; ls -d /sys/class/net/eth1/queues/*
iperf3 -c 10.9.0.1 -t 2; iperf3 -c 10.9.0.1 -t 2 -R
iperf3 -c 10.9.1.1 -t 2 -P 4; iperf3 -c 10.9.1.1 -t 2 -R -P 4
nc -l -p 80 -e md5sum </dev/null & until netstat -ltn | grep -q ':80 '; do sleep 0.1; done
echo serv""ing; wait $!`,
      onServing: async () => {
        answer = await namespace.run(['busybox', 'nc', '10.9.0.2', '80'], data);
      },
    });
    assert.match(stdout, /eth0.*mtu 9000/);
    assert.match(stdout, /52:54:00:00:00:77/);
    assert.match(stdout, /rx-1/);
    assert.match(stdout, /tx-1/);
    // One and one for the first device, four streams and their sum, twice, for the second.
    assert.equal(transfers(stdout, 'receiver').length, 12, stdout);
    assert.equal(answer, `${md5(data)}  -\n`);
  },
);

test(
  'a user network: DHCP, a resolver on loopback, published ports with slow readers',
  NEEDS_ROOT,
  async (t) => {
    const namespace = await NetworkNamespace.create(t, { nameServer: RESOLVER });
    const names = namespace.start(
      t,
      process.execPath,
      `${SUPPORT}/name-server.ts`,
      RESOLVER,
      ANSWER,
    );
    await once(names.stdout ?? names, 'data');
    const forwards = ['8080:80', '8081:81', '8099:99', 'tcp:5201:5201', 'udp:5201:5201'];
    const seen = { slow: '', quick: '', echo: '', tcp: '', udp: '', elsewhere: '' };
    const { stdout } = await runGuest(t, {
      namespace,
      args: ['--net', ['user', ...forwards.map((forward) => `hostfwd=${forward}`)].join()],
      // It ends when the host connects to port 99.
      script: `
until ip route | grep -q ^default; do sleep 0.1; done
ip -4 address show eth0; cat /etc/resolv.conf; nslookup www.example.test
mkdir /tmp/www; dd if=/dev/urandom of=/tmp/www/data bs=1M count=4; md5sum /tmp/www/data
httpd -p 80 -h /tmp/www; iperf3 -s -D; nc -ll -p 81 -e cat &
nc -l -p 99 </dev/null & until netstat -ltn | grep -q ':99 '; do sleep 0.1; done
echo serv""ing; wait $!`,
      onServing: async () => {
        const fetch = ['curl', '-sS', '--max-time', '60', 'http://127.0.0.1:8080/data'];
        seen.quick = md5(Buffer.from(await namespace.run(fetch), 'latin1'));
        seen.slow = md5(
          Buffer.from(await namespace.run([...fetch, '--limit-rate', '2M']), 'latin1'),
        );
        const client = `${SUPPORT}/half-close-client.ts`;
        // Less than the windows of both sides: passt of Debian 12 resets a connection whose receiver's
        // window stays closed for a quarter of a minute, and an echo may block both directions.
        seen.echo = await namespace.run([process.execPath, client, '127.0.0.1', '8081', '200000']);
        seen.tcp = await transfer(namespace);
        seen.tcp += await transfer(namespace, '-R');
        seen.udp = await transfer(namespace, '-u', '-b', '20M');
        seen.elsewhere = await namespace.run(['ss', '-Hltn']);
        await namespace.run(['busybox', 'nc', '127.0.0.1', '8099'], 'end\n');
      },
    });
    assert.match(stdout, new RegExp(`inet ${HOST_ADDRESS}`), 'the guest has the host’s address');
    assert.match(stdout, new RegExp(`Address: ${ANSWER}`), stdout);
    const [, sum] = /^([0-9a-f]{32}) .*data\r?$/m.exec(stdout) ?? [];
    assert.equal(seen.quick, sum);
    assert.equal(seen.slow, sum);
    assert.equal(seen.echo, 'echoed 200000\n');
    assert.equal(transfers(seen.tcp, 'receiver').length, 2, seen.tcp);
    assert.equal(transfers(seen.udp, 'receiver').length, 1, seen.udp);
    // Published ports are bound to loopback only.
    assert.match(seen.elsewhere, /127\.0\.0\.1:8080/);
    assert.doesNotMatch(seen.elsewhere, /(0\.0\.0\.0|\*|\[::\]):8080/);
  },
);

test('a user network on a host without a route: published ports work', NEEDS_ROOT, async (t) => {
  const namespace = await NetworkNamespace.create(t, { isolated: true });
  let answer = '';
  const { stdout } = await runGuest(t, {
    namespace,
    args: ['--net', 'user,hostfwd=tcp:127.0.0.1:8080:80'],
    script: `
until ip route | grep -q ^default; do sleep 0.1; done; ip -4 address show eth0
nc -l -p 80 -e md5sum </dev/null & until netstat -ltn | grep -q ':80 '; do sleep 0.1; done
echo serv""ing; wait $!`,
    onServing: async () => {
      answer = await namespace.run(['busybox', 'nc', '127.0.0.1', '8080'], 'to the guest');
    },
  });
  assert.match(stdout, /inet 10\.0\.2\.15/);
  assert.equal(answer, `${md5('to the guest')}  -\n`);
});
