/** Runs `tsvm image` as a process, and qemu-img. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type QemuImgResult, qemuImg } from '../../support/qemu-img.ts';
import { type RunOptions, type RunResult, runTsvm } from '../../support/tsvm-process.ts';

/** A folder of images. */
export class ImageFolder {
  readonly path = mkdtempSync(join(tmpdir(), 'tsvm-images-'));

  remove(): void {
    rmSync(this.path, { recursive: true });
  }

  file(name: string): string {
    return join(this.path, name);
  }

  /** Replaces `%NAME` in arguments by the path of that file. */
  expand(args: readonly string[]): string[] {
    return args.map((arg) => arg.replace(/%/g, `${this.path}/`));
  }

  tsvm(args: readonly string[], options?: RunOptions): Promise<RunResult> {
    return runTsvm(['image', ...this.expand(args)], options);
  }

  /** Runs it and returns its output; it must succeed. */
  async tsvmOutput(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.tsvm(args);
    assert.equal(code, 0, `tsvm image ${args.join(' ')}: ${stdout}${stderr}`);
    return stdout;
  }

  qemu(...args: readonly string[]): Promise<QemuImgResult> {
    return qemuImg(...this.expand(args));
  }

  async qemuOutput(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.qemu(...args);
    assert.equal(code, 0, `qemu-img ${args.join(' ')}: ${stdout}${stderr}`);
    return stdout;
  }

  /** Writes into an image with qemu-io. */
  write(name: string, ...commands: readonly string[]): void {
    const args = commands.flatMap((command) => ['-c', command]);
    const said = execFileSync('qemu-io', [...args, this.file(name)], { encoding: 'utf8' });
    assert.doesNotMatch(said, /failed|error/i);
  }

  /** Asserts by QEMU that both have the same content and are valid. */
  async assertSame(one: string, other: string): Promise<void> {
    const formats = [one, other].map((name) => (name.endsWith('.qcow2') ? 'qcow2' : 'raw'));
    const [f = '', F = ''] = formats;
    await this.qemuOutput('compare', '-f', f, '-F', F, `%${one}`, `%${other}`);
    for (const name of [one, other]) {
      if (name.endsWith('.qcow2')) await this.qemuOutput('check', '-q', `%${name}`);
    }
  }

  /**
   * A chain of three with all kinds of clusters, a snapshot, and `top.raw` with the content.
   * The middle image is the smallest.
   */
  async makeChain(): Promise<void> {
    for (const name of ['base.qcow2', 'middle.qcow2', 'top.qcow2', 'top.raw']) {
      rmSync(this.file(name), { force: true });
    }
    await this.qemuOutput('create', '-q', '-f', 'qcow2', '%base.qcow2', '24M');
    this.write('base.qcow2', 'write -P 1 0 6M', 'write -P 2 20M 64k');
    const based = (on: string) => ['create', '-q', '-f', 'qcow2', '-b', on, '-F', 'qcow2'];
    await this.qemuOutput(...based('base.qcow2'), '%middle.qcow2', '16M');
    this.write('middle.qcow2', 'write -P 3 1M 1M', 'write -z 3M 1M', 'write -c -P 4 8M 64k');
    await this.qemuOutput(...based('middle.qcow2'), '%top.qcow2', '32M');
    this.write('top.qcow2', 'write -P 5 2M 512k', 'write -z 5M 512k', 'write -P 6 31M 64k');
    await this.qemuOutput('snapshot', '-c', 'before', '%top.qcow2');
    this.write('top.qcow2', 'write -P 7 2M 64k', 'write -P 8 12M 1k');
    await this.qemuOutput('convert', '-O', 'raw', '%top.qcow2', '%top.raw');
  }
}
