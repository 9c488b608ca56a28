/** A full disk under the store: clear errors, a whole store, and everything works again once there is space. */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { busyboxMembers } from '../support/agent-guest.ts';
import { ContainerShell } from '../support/container-shell.ts';
import { makeImage, writeLayout } from '../support/image-maker.ts';
import { makeTar } from '../support/tar-maker.ts';

const NEEDS_MOUNT = {
  skip: process.getuid?.() === 0 ? false : 'mounting a file system of a given size needs root',
};
const shell = new ContainerShell();
after(() => shell.close());

/**
 * Runs a shell script with a store on a file system of its own, which ends with it.
 * @returns what it wrote to its standard output
 */
async function onSmallDisk(mebibytes: number, script: string): Promise<string> {
  const setUp = `mount -t tmpfs -o size=${mebibytes}m none ${shell.data}; cd ${shell.folder}; ${script}`;
  mkdirSync(shell.data, { recursive: true });
  const { stdout, stderr, code } = await shell.sh(`unshare -m sh -c "$SCRIPT"`, {
    timeoutMs: 300_000,
    env: { SCRIPT: setUp },
  });
  assert.equal(code, 0, `${stdout}\n${stderr}`);
  return stdout;
}

function writeImage(name: string, bytes: number): string {
  const layout = join(shell.folder, name);
  mkdirSync(layout);
  // It does not become smaller by compression.
  const data = crypto.getRandomValues(new Uint8Array(65_536));
  const filler = Buffer.alloc(bytes, data);
  const image = makeImage({
    layers: [makeTar(busyboxMembers([{ name: 'filler', data: filler }]))],
    run: { Cmd: ['sh'] },
    packing: 'none',
  });
  writeLayout(layout, image);
  return image.config;
}

test(
  'a full disk while an image comes in: an error that says so, nothing is left, and then it works',
  NEEDS_MOUNT,
  async () => {
    const big = writeImage('big', 40 * 2 ** 20);
    const small = writeImage('small', 1000);
    const output = await onSmallDisk(
      32,
      `tsvm load -q -i big 2>&1; echo "code $?"; tsvm images -q | wc -l; ls data/images/tmp 2>/dev/null | wc -l
     tsvm load -q -i small && tsvm tag ${small} box && tsvm run --rm box echo fine; tsvm rmi -f box >/dev/null
     mount -o remount,size=200m ${shell.data}; tsvm load -q -i big; tsvm run --rm ${big} sh -c 'wc -c < /filler'`,
    );
    assert.match(output, /no space left on device[\s\S]*code 1\n0\n0\n/i);
    assert.match(output, new RegExp(`\nfine\n[\\s\\S]*\n${40 * 2 ** 20}\n$`));
  },
);

test(
  'a full disk while a container writes: it gets errors, its end and code are told, and rm gives all back',
  NEEDS_MOUNT,
  async () => {
    const image = writeImage('plain', 1000);
    const output = await onSmallDisk(
      24,
      `tsvm load -q -i plain >/dev/null; tsvm tag ${image} box
     tsvm run --name writer box sh -c 'dd if=/dev/zero of=/big bs=1M count=60 2>/dev/null; sync; echo end >&2; exit 5' 2>&1
     echo "code $?"; tsvm ps -a --format '{{.Names}} {{.Status}}' 2>&1
     tsvm rm -f writer 2>&1; tsvm ps -aq | wc -l; tsvm run --rm box echo fine 2>&1`,
    );
    assert.match(output, /end\ncode 5\nwriter Exited \(5\)/);
    assert.match(output, /\nwriter\n0\nfine\n$/);
  },
);
