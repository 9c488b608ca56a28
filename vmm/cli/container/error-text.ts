import type { TsvmError } from '../../errors.ts';

/** Errors about images in the form of Docker's client. */
export function errorText({ code, message }: TsvmError): string {
  switch (code) {
    case 'invalid-config':
    case 'file-unreadable':
      return message;
    default:
      return `Error response from daemon: ${message}`;
  }
}
