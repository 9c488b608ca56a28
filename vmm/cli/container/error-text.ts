import type { TsvmError } from '../../errors.ts';

/** What comes of images is told as Docker's clients know it. */
export function errorText({ code, message }: TsvmError): string {
  switch (code) {
    case 'invalid-config':
    case 'file-unreadable':
      return message;
    default:
      return `Error response from daemon: ${message}`;
  }
}
