import { TsvmError } from '../../errors.ts';
import { randomHex } from '../../host/random.ts';

/** Docker's rule. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;
const NAME_LENGTH_MAX = 128;

export function isContainerName(name: string): boolean {
  return NAME.test(name) && name.length <= NAME_LENGTH_MAX;
}

/** @throws TsvmError `invalid-config` */
export function checkContainerName(name: string): string {
  const plain = name.replace(/^\//, '');
  if (isContainerName(plain)) return plain;
  throw new TsvmError(
    'container-conflict',
    `Invalid container name (${name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`,
  );
}

export function newContainerId(): string {
  return randomHex(32);
}

const QUALITIES =
  'amber ample brisk calm candid clever copper cosy crisp daring dapper eager early earnest even fabled fair fleet fluent fond frank fresh gentle gilded glad golden hardy hasty honest humble ivory jolly keen kind late level light limber lively loyal lucid lunar mellow merry mild modest neat nimble noble olive pale patient placid plain polite proud quick quiet rapid ready rosy rustic sage sandy scarlet serene sharp silent silver simple sleek snug solar sound spry steady still sturdy sunny swift tidy tranquil upbeat velvet violet vivid warm wise witty zesty'.split(
    ' ',
  );
const THINGS =
  'acorn anchor anvil arbor aster badger beacon beaver birch bison bobbin brook canyon cedar cinder cliff clover comet compass coral cove crane creek cypress dahlia delta dolphin dune eagle ember falcon fern fjord flint forest fox garnet geyser glacier grove gull harbor hare hawk hazel heron hill island ivy jasper juniper kestrel kite lagoon lantern larch lark laurel lichen lily linden lotus lynx magpie maple marble marsh meadow mesa mill moss nettle oak orchard osprey otter owl pebble pine plover pond poplar quail quartz raven reed reef ridge river robin rowan saddle salmon sparrow spruce stone stork summit swan thicket thistle tide trout tulip valley walnut willow wren yarrow'.split(
    ' ',
  );

/** A name for a container that was given none, such as `quiet_heron`. */
export function randomName(attempt: number): string {
  const random = Number.parseInt(randomHex(6), 16);
  const quality = QUALITIES[random % QUALITIES.length];
  const thing = THINGS[Math.floor(random / QUALITIES.length) % THINGS.length];
  return `${quality}_${thing}${attempt > 0 ? random % 10 ** Math.min(attempt, 9) : ''}`;
}
