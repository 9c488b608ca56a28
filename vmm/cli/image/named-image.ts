/** How the user specifies an image: a path, or one of QEMU's forms for files. */
import { Option } from 'commander';
import {
  type ImageName,
  parseImageName,
  parseImageOptions,
} from '../../backends/disk/image/image-name.ts';
import { TsvmError } from '../../errors.ts';

/** The options that affect it. */
export interface ImageNameOptions {
  readonly f?: string | undefined;
  readonly imageOpts?: true | undefined;
}

export function imageOptsOption(): Option {
  return new Option(
    '--image-opts',
    'the image is given as driver=FORMAT,file.filename=FILE',
  ).conflicts('f');
}

/** @throws TsvmError `invalid-config` when it does not refer to a file, or has two formats */
export function namedImage(name: string, { f, imageOpts }: ImageNameOptions = {}): ImageName {
  if (imageOpts === true) return parseImageOptions(name);
  const { path, format } = parseImageName(name) ?? { path: name, format: undefined };
  if (f !== undefined && format !== undefined && f !== format) {
    throw new TsvmError('invalid-config', `${name} specifies the format ${format}, but -f ${f}`);
  }
  return { path, format: f ?? format };
}
