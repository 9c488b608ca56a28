/** How the user names an image: a path, or one of the forms that QEMU has for files. */
import { Option } from 'commander';
import {
  type ImageName,
  parseImageName,
  parseImageOptions,
} from '../../backends/disk/image/image-name.ts';
import { TsvmError } from '../../errors.ts';

/** The options that go with it. */
export interface ImageNameOptions {
  readonly f?: string | undefined;
  readonly imageOpts?: true | undefined;
}

export function imageOptsOption(): Option {
  return new Option(
    '--image-opts',
    'the image is named by driver=FORMAT,file.filename=FILE',
  ).conflicts('f');
}

/** @throws TsvmError `invalid-config` when it names no file, or says its format twice */
export function namedImage(name: string, { f, imageOpts }: ImageNameOptions = {}): ImageName {
  if (imageOpts === true) return parseImageOptions(name);
  const { path, format } = parseImageName(name) ?? { path: name, format: undefined };
  if (f !== undefined && format !== undefined && f !== format) {
    throw new TsvmError('invalid-config', `${name} says the format ${format}, and -f says ${f}`);
  }
  return { path, format: f ?? format };
}
