/** A shared folder, and a bare-metal guest that sends what no kernel does to leave it. */
import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { bootMachine } from '../../../vmm/index.ts';
import { ConsoleOutput } from '../../support/console-output.ts';
import { PAYLOAD, temporaryFolder } from '../../support/tsvm-process.ts';

/** A folder with a file beside it. */
function makeShare(t: TestContext): string {
  const folder = temporaryFolder(t);
  const share = join(folder, 'share');
  mkdirSync(join(share, 'inside'), { recursive: true });
  writeFileSync(join(folder, 'secret'), 'secret');
  writeFileSync(join(share, 'given'), 'from the host');
  symlinkSync(join(folder, 'secret'), join(share, 'absolute'));
  symlinkSync('../secret', join(share, 'relative'));
  return share;
}

for (const readOnly of [false, true]) {
  test(`raw requests do not leave a ${readOnly ? 'read-only' : 'shared'} folder`, async (t) => {
    const console = new ConsoleOutput();
    const machine = await bootMachine(
      {
        kernelPath: PAYLOAD,
        // Twice: after the reset in between, the driver has a new virtiofsd.
        appendCmdline: 'tests=fs-escape,fs-escape',
        acpi: false,
        memoryBytes: 64 * 2 ** 20,
        shares: [{ path: makeShare(t), tag: 's', readOnly }],
      },
      { console },
    );
    try {
      machine.start();
      await machine.ended;
      assert.equal(console.text.match(/^ok fs-escape\b/gm)?.length, 2, console.text);
    } finally {
      await machine.close();
    }
  });
}
