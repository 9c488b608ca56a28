/** tsvm as a process among others: its environment, its signals, its streams, its user. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runShell } from '../../support/tsvm-process.ts';

const BOOT = '"$TSVM" boot --memory 64M --acpi off --kernel "$PAYLOAD"';
const RUN = `${BOOT} --append tests=cpuid`;
const DONE = /^done passed=1 failed=0/m;

test('the user’s Node environment variables do not affect tsvm', async () => {
  for (const setting of [
    'NODE_OPTIONS="--require /nonexistent.js"',
    'NODE_OPTIONS=--no-such-option',
    'NODE_OPTIONS=--inspect=127.0.0.1:0',
    'NODE_V8_COVERAGE=litter',
    'NODE_DEBUG=fs,net',
    'NODE_DEBUG_NATIVE=http2',
    'NODE_ICU_DATA=/nonexistent',
    'NODE_REDIRECT_WARNINGS=litter',
    'NODE_CHANNEL_FD=99',
    'NODE_PENDING_DEPRECATION=1',
    'OPENSSL_CONF=/nonexistent',
  ]) {
    const { stdout, stderr } = await runShell(`${setting} ${RUN}; echo "code $?"; ls`);
    assert.match(stdout, DONE, setting);
    assert.match(stdout, /code 0\n$/, `${setting} leaves nothing behind`);
    assert.equal(stderr, '', setting);
  }
});

test('SIGUSR1 opens no debugger', async () => {
  const { stderr, stdout } = await runShell(
    `${BOOT} --append tests=serial-echo >out & vm=$!
     until grep -qs echo out; do sleep 0.1; done
     kill -USR1 $vm; sleep 0.5; ls /proc/$vm/task 2>/dev/null | wc -l; kill -TERM $vm; wait $vm; echo "code $?"`,
  );
  assert.doesNotMatch(stderr, /Debugger/);
  assert.match(stdout, /code (138|143)/);
});

test('SIGHUP stays ignored if it was, and otherwise ends the machine', async () => {
  const script = (start: string, end: string) =>
    `${start} "$TSVM" boot --acpi off --kernel "$PAYLOAD" --append tests=serial-echo >out 2>&1 </dev/zero & vm=$!
     until grep -qs echo: out; do sleep 0.1; done
     kill -HUP $vm; ${end} wait $vm; echo "code $?"`;
  const term = 'sleep 1; kill -TERM $vm;';
  assert.match((await runShell(script('nohup', term))).stdout, /code 143/);
  assert.match((await runShell(script("trap '' HUP;", term))).stdout, /code 143/);
  assert.match((await runShell(script('', ''))).stdout, /code 129/);
});

test('it runs by any link to it, and to the folders that it is in', async () => {
  for (const path of [
    'ln -s "$TSVM" t; ./t',
    'ln -s "$TSVM" t; ln -s t u; PATH=.:$PATH; u',
    'ln -s "$(dirname "$TSVM")" tools; tools/tsvm',
    'ln -s "$(dirname "$TSVM")" tools; PATH=$PWD/tools:$PATH; tsvm',
    'ln -s "$(dirname "$TSVM")" tools; tools//tsvm',
    'ln -s "$(dirname "$TSVM")" tools; tools/./tsvm',
    'ln -s "$(dirname "$(dirname "$TSVM")")" root; root/bin/tsvm',
    'ln -s "$(dirname "$TSVM")" tools; tools/../bin/tsvm',
    'mkdir "a b"; ln -s "$TSVM" "a b/t s"; "a b/t s"',
  ]) {
    const { code, stdout, stderr } = await runShell(`${path} --version`);
    assert.equal(code, 0, `${path}: ${stderr}`);
    assert.match(stdout, /^tsvm \d+\.\d+\.\d+ /, path);
  }
});

test('the version, spelled in any way', async () => {
  for (const word of ['--version', '-v', '-V', 'version']) {
    assert.match((await runShell(`"$TSVM" ${word}`)).stdout, /^tsvm \d+\.\d+\.\d+ \(Node\.js /);
  }
});

const NOBODY = 'setpriv --reuid 54321 --regid 54321 --clear-groups env -u HOME -u XDG_CACHE_HOME';

test('a user without a home folder or passwd entry gets messages, not stack traces', async () => {
  const { stdout, stderr } = await runShell(
    `${NOBODY} "$TSVM" doctor; ${NOBODY} ${RUN}; ${NOBODY} HOME= "$TSVM" doctor`,
  );
  assert.match(stdout, /note {2}no home folder/);
  assert.doesNotMatch(stdout + stderr, /\n {4}at |Error/);
});

test('an empty or relative HOME leaves nothing in the current folder', async () => {
  for (const home of ['', '.', 'cache']) {
    const { stdout } = await runShell(
      `env -u XDG_CACHE_HOME HOME=${home} ${RUN} >/dev/null; echo "code $?"; ls -A`,
    );
    assert.equal(stdout, 'code 0\n', `HOME=${home}`);
  }
});

test('doctor reports a cache folder that cannot be created or written', async () => {
  for (const [setUp, expected] of [
    ['mkdir -m 555 h', /^note .*h\/\.cache\/tsvm cannot be created, as .*h cannot be written/m],
    ['mkdir h; ln -s /nonexistent h/.cache', /^note .* cannot be created/m],
    ['mkdir h; echo >h/.cache', /^note .* cannot be written/m],
    ['mkdir h', /^ok .*h\/\.cache\/tsvm, created on first use/m],
  ] as const) {
    // The folder of the script is root's; a user of its own may write in h alone, where h lets it.
    const { stdout } = await runShell(
      `chmod 755 .; ${setUp}; chown -hR 54321 h
       setpriv --reuid 54321 --regid 54321 --clear-groups env -u XDG_CACHE_HOME HOME="$PWD/h" "$TSVM" doctor`,
    );
    assert.match(stdout, expected, setUp);
  }
});

test('help and doctor into a pipe that is closed, or a disk that is full', async () => {
  for (const words of ['doctor', '--help', 'boot --help', '--version']) {
    const closed = await runShell(`{ sleep 0.3; "$TSVM" ${words}; echo "code $?" >&2; } | true`);
    assert.equal(closed.stderr, 'code 0\n', words);
    const full = await runShell(`"$TSVM" ${words} >/dev/full; echo "code $?"`);
    assert.equal(full.stdout, 'code 125\n', words);
    assert.match(full.stderr, /^tsvm: standard output cannot be written: .*ENOSPC.*\n$/);
  }
});

test('mistakes of the command line are named as it writes them', async () => {
  for (const [words, code, reason] of [
    ['help nothing', 2, /unknown command 'nothing'/],
    ['help bot', 2, /Did you mean boot\?/],
    ['boot --kernel x --disk y,bps_max=5M', 2, /bps_max=.*bps=/],
    [`${BOOT.replace('"$TSVM" ', '')} --share "$TSVM:bin"`, 125, /it is not a folder/],
    [`${BOOT.replace('"$TSVM" ', '')} --vsock no/s`, 2, /its folder does not exist/],
  ] as const) {
    const mistake = await runShell(`"$TSVM" ${words}`);
    assert.equal(mistake.code, code, words);
    assert.match(mistake.stderr, reason, words);
  }
});

test('repeated options accumulate or are refused', async () => {
  const again = await runShell(
    `${BOOT} --append exit=acpi --append "a b" --cpu-mask rdrand --cpu-mask rdseed --log-level debug`,
  );
  assert.match(again.stderr, / exit=acpi a b$/m);
  for (const option of ['kernel', 'initrd', 'cmdline', 'metrics']) {
    const { code, stderr } = await runShell(`"$TSVM" boot --${option} x --${option} y`);
    assert.equal(code, 2, option);
    assert.match(stderr, /more than once/);
  }
});

test('errors about limits of the host include advice', async () => {
  const memory = await runShell(`ulimit -v 200000000; ${BOOT} --memory 900G`);
  assert.equal(memory.code, 125);
  assert.match(memory.stderr, /900 GiB of guest memory .*--memory/);
  const file = await runShell(`truncate -s 16M d; ulimit -f 1024; ${BOOT} --disk d,overlay`);
  assert.equal(file.code, 125);
  assert.match(file.stderr, /^tsvm: the temporary file .*ulimit -f.*\n$/);
  const files = await runShell(`ulimit -n 22; ${BOOT}`);
  assert.equal(files.code, 125);
  assert.match(files.stderr, /ulimit -n/);
});

test('a silent machine logs a message with advice', async () => {
  const { stderr } = await runShell(
    `cat >k.s <<'S'
.globl _start
_start: jmp _start
S
     gcc -nostdlib -static -no-pie -Wl,--build-id=none,-Ttext=0x200000 k.s -o quiet
     "$TSVM" boot --memory 64M --kernel quiet 2>err & vm=$!
     until [ -s err ]; do sleep 0.1; done; kill -TERM $vm; wait $vm; cat err >&2`,
  );
  assert.match(stderr, /^tsvm: the guest is booting, without output so far.*earlyprintk/);
});

test('an instruction that cannot be emulated ends with advice and code 125', async () => {
  const { code, stderr } = await runShell(
    `cat >k.s <<'S'
.globl _start
_start: vfmadd231ps %ymm1, %ymm2, %ymm3
  jmp _start
S
     gcc -nostdlib -static -no-pie -Wl,--build-id=none,-Ttext=0x200000 k.s -o odd
     timeout 100 "$TSVM" boot --memory 64M --kernel odd`,
  );
  // With VT-x or AMD-V it is an undefined instruction of the guest's: a triple fault.
  if (/triple fault/.test(stderr)) return assert.equal(code, 1);
  assert.equal(code, 125);
  assert.match(stderr, /--cpu-mask/);
});

test('names that are no UTF-8: kernel, disk, console, metrics and messages keep their bytes', async () => {
  const { stdout, stderr } = await runShell(`
    kernel=$(printf 'k\\351.elf') disk=$(printf 'd\\351.img') console=$(printf 'c\\351') metrics=$(printf 'm\\351')
    cp "$PAYLOAD" "$kernel" && truncate -s 1M "$disk"
    "$TSVM" boot --memory 64M --acpi off --kernel "$kernel" --disk "$disk" --console "file:$console" \
      --metrics "$metrics" --append "tests=cpuid $(printf 'word\\351')"; echo "code $?"
    [ "$(ls | wc -l)" = 4 ] && grep -aq '^done passed=1' "$console" && [ -s "$metrics" ] && echo kept
    "$TSVM" boot --acpi off --kernel "$(printf 'none\\351')" 2>said; grep -aq "$(printf 'none\\351')" said && echo told
    "$TSVM" load -i "$(printf 'none\\351')" 2>said; grep -aq "open $(printf 'none\\351')" said && echo loaded`);
  assert.equal(stdout, 'code 0\nkept\ntold\nloaded\n', stderr);
});
