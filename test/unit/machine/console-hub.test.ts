import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ConsoleHub,
  type ConsoleViewer,
  type LocalInput,
} from '../../../vmm/machine/console-hub.ts';

/** A hub with a local console and a guest that keep what they get. */
function makeHub(localInput: LocalInput) {
  const local = { text: '', resumed: 0, type: (_text: string): boolean => true, end: () => {} };
  const guest = { input: '', accepts: true };
  const hub = new ConsoleHub(
    {
      write: (bytes) => {
        local.text += Buffer.from(bytes).toString();
        return true;
      },
      onceDrained: () => Promise.resolve(),
      startInput: (receive, onEnd = () => {}) => {
        local.type = (text) => receive(Buffer.from(text));
        local.end = onEnd;
      },
      resumeInput: () => {
        local.resumed++;
      },
    },
    localInput,
  );
  hub.startInput((bytes) => {
    guest.input += Buffer.from(bytes).toString();
    return guest.accepts;
  });
  const print = (text: string) => hub.write(Buffer.from(text));
  return { hub, local, guest, print };
}

class FakeViewer implements ConsoleViewer {
  text = '';
  hasRoom = true;
  resumed = 0;
  ended = false;

  write(bytes: Uint8Array): boolean {
    this.text += Buffer.from(bytes).toString();
    return this.hasRoom;
  }

  resumeInput(): void {
    this.resumed++;
  }

  end(): void {
    this.ended = true;
  }
}

const ALL = Number.MAX_SAFE_INTEGER;
const bytes = (text: string) => Buffer.from(text);

test('a viewer gets what it missed, then what follows; so do the others', () => {
  const { hub, local, print } = makeHub('none');
  print('one ');
  const first = new FakeViewer();
  hub.attach(first, 'none', ALL).resumeOutput();
  print('two ');
  const second = new FakeViewer();
  hub.attach(second, 'none', 4).resumeOutput();
  print('three');
  assert.equal(first.text, 'one two three');
  assert.equal(second.text, 'two three');
  assert.equal(local.text, 'one two three');
  assert.equal(hub.viewerCount, 2);
});

test('a viewer that does not keep up holds nobody back, and is told what it missed', () => {
  const { hub, print } = makeHub('none');
  const slow = new FakeViewer();
  const attachment = hub.attach(slow, 'none', ALL);
  attachment.resumeOutput();
  slow.hasRoom = false;
  print('first');
  const flood = 'x'.repeat(1024);
  for (let i = 0; i < 1024; i++) assert.equal(print(flood), true);
  print('last');
  assert.equal(slow.text, 'first');
  slow.hasRoom = true;
  attachment.resumeOutput();
  const [, lost = '', rest = ''] =
    /^first\r\n\[tsvm: (\d+) bytes of output were lost here\]\r\n(x+last)$/.exec(slow.text) ?? [];
  assert.equal(Number(lost) + rest.length, 1024 * 1024 + 'last'.length);
});

test('one console has the input; another takes it only by force, and gives it back', () => {
  const { hub, guest, local } = makeHub('terminal');
  local.type('a');
  const polite = hub.attach(new FakeViewer(), 'if-free', 0);
  assert.equal(polite.hasInput, false);
  polite.input(bytes('no'));
  const forceful = hub.attach(new FakeViewer(), 'take', 0);
  assert.equal(forceful.hasInput, true);
  assert.equal(hub.writer, 'attached');
  forceful.input(bytes('b'));
  local.type('no');
  forceful.detach();
  forceful.input(bytes('no'));
  assert.equal(hub.writer, 'local');
  local.type('c');
  assert.equal(guest.input, 'abc');
  assert.match(local.text, /another console has taken the input/);
  assert.match(local.text, /this console has the input again/);
});

test('a console that has lost the input to another is told', () => {
  const { hub } = makeHub('none');
  const first = new FakeViewer();
  const attachment = hub.attach(first, 'if-free', 0);
  attachment.resumeOutput();
  assert.equal(attachment.hasInput, true);
  hub.attach(new FakeViewer(), 'take', 0);
  assert.equal(attachment.hasInput, false);
  assert.match(first.text, /another console has taken the input/);
});

test('input of a pipe waits while another console has the input', () => {
  const { hub, guest, local } = makeHub('stream');
  const other = hub.attach(new FakeViewer(), 'take', 0);
  assert.equal(local.type('later'), false);
  other.input(bytes('now '));
  assert.equal(guest.input, 'now ');
  other.detach();
  assert.equal(guest.input, 'now later');
  assert.equal(local.resumed, 1);
});

test('a pipe that has ended leaves the input to others', () => {
  const { hub, local } = makeHub('stream');
  local.end();
  assert.equal(hub.writer, 'nobody');
  const other = hub.attach(new FakeViewer(), 'if-free', 0);
  assert.equal(other.hasInput, true);
  other.detach();
  assert.equal(hub.writer, 'nobody');
});

test('a guest that takes no input pauses the console that has it, and resumes that one', () => {
  const { hub, guest } = makeHub('terminal');
  const viewer = new FakeViewer();
  const attachment = hub.attach(viewer, 'take', 0);
  guest.accepts = false;
  assert.equal(attachment.input(bytes('x')), false);
  hub.resumeInput();
  assert.equal(viewer.resumed, 1);
});

test('at the end a viewer gets all that is left, even one that was slow or comes late', () => {
  const { hub, print } = makeHub('none');
  const slow = new FakeViewer();
  slow.hasRoom = false;
  hub.attach(slow, 'none', ALL).resumeOutput();
  print('a'.repeat(40_000));
  print('end');
  hub.end();
  assert.equal(slow.text.length, 40_003);
  assert.ok(slow.ended);
  const late = new FakeViewer();
  hub.attach(late, 'if-free', 3).resumeOutput();
  assert.equal(late.text, 'end');
  assert.ok(late.ended);
});
