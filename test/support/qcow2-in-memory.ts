/** Images that qemu-img creates and checks, and that are in memory during the test. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryImageFile } from './memory-image-file.ts';
import { qemuCheck, qemuImg, qemuImgOutput } from './qemu-img.ts';

export class Qcow2InMemory {
  readonly folder = mkdtempSync(join(tmpdir(), 'tsvm-qcow2-'));
  readonly path = join(this.folder, 'image.qcow2');
  readonly #dataPath = join(this.folder, 'image.data');

  remove(): void {
    rmSync(this.folder, { recursive: true });
  }

  /** A new image. Options are those of `qemu-img create -o`. */
  async create(sizeBytes: number, ...options: string[]): Promise<MemoryImageFile> {
    const given = options.length > 0 ? ['-o', options.join(',')] : [];
    await qemuImgOutput('create', '-q', '-f', 'qcow2', ...given, this.path, String(sizeBytes));
    return this.load();
  }

  /** Runs qemu-io on the file of the image in the folder. */
  qemuIo(...commands: string[]): MemoryImageFile {
    const args = commands.flatMap((command) => ['-c', command]);
    const said = execFileSync('qemu-io', [...args, this.path], { encoding: 'utf8' });
    assert.doesNotMatch(said, /failed|error/i);
    return this.load();
  }

  load(): MemoryImageFile {
    return new MemoryImageFile(readFileSync(this.path), this.path);
  }

  /** An option for {@link create}, and its file. */
  get dataFileOption(): string {
    return `data_file=${this.#dataPath}`;
  }

  loadData(): MemoryImageFile {
    return new MemoryImageFile(readFileSync(this.#dataPath), this.#dataPath);
  }

  save(file: MemoryImageFile, dataFile?: MemoryImageFile): void {
    writeFileSync(this.path, file.content());
    if (dataFile !== undefined) writeFileSync(this.#dataPath, dataFile.content());
  }

  /** Asserts that qemu-img finds no errors and no leaks, and reads the expected content. */
  async assertSound(
    file: MemoryImageFile,
    expected: Uint8Array,
    dataFile?: MemoryImageFile,
  ): Promise<void> {
    this.save(file, dataFile);
    const { corruptions, leaks, checkErrors, text } = await qemuCheck(this.path);
    assert.deepEqual(
      { corruptions, leaks, checkErrors },
      { corruptions: 0, leaks: 0, checkErrors: 0 },
      text,
    );
    const raw = join(this.folder, 'expected.raw');
    writeFileSync(raw, expected);
    const { code, stdout } = await qemuImg('compare', '-f', 'raw', '-F', 'qcow2', raw, this.path);
    assert.equal(code, 0, stdout);
  }
}
