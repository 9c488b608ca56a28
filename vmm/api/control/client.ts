import type { Socket } from 'node:net';
import { TsvmError } from '../../errors.ts';
import { ApiClient } from '../http/api-client.ts';
import type { Call } from '../http/operation.ts';
import type { RunningMachine } from '../machines/running-machines.ts';
import {
  CONSOLE_INPUT_HEADER,
  CONTROL_API,
  CONTROL_OPERATIONS,
  type ControlOperations,
} from './operations.ts';

/** An attached console, as a byte stream. */
export interface ConsoleConnection {
  readonly socket: Socket;
  /** Whether input reaches the guest: only one console at a time has the input. */
  readonly hasInput: boolean;
}

/**
 * Calls the control API of a running machine. Every method throws `machine-unreachable` and the errors
 * of the API.
 */
export class ControlClient extends ApiClient<ControlOperations> {
  /** @param answerMs time to wait for an answer */
  constructor({ folder, name }: RunningMachine, answerMs?: number) {
    const unreachable = (reason: string) =>
      new TsvmError(
        'machine-unreachable',
        `the machine ${name} cannot be reached (${reason}): if it hangs, run "tsvm kill ${name}"`,
      );
    const refused = (code: string | undefined, message: string) => {
      const isState = code === 'wrong-state' || code === 'not-supported';
      return new TsvmError(isState ? 'wrong-state' : 'machine-unreachable', message);
    };
    super(CONTROL_API, CONTROL_OPERATIONS, { folder, unreachable, refused }, answerMs);
  }

  async attachConsole(
    query: Partial<Call<ControlOperations['attachConsole']>>['query'] = {},
  ): Promise<ConsoleConnection> {
    const { headers, socket } = await this.upgrade('attachConsole', query);
    return { socket, hasInput: headers[CONSOLE_INPUT_HEADER.toLowerCase()] === 'yes' };
  }
}
