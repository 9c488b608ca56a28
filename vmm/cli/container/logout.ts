import { CredentialStore } from '../../container/registry/credentials.ts';
import { domainOf } from './login.ts';
import { type Verb, writeLine } from './verb.ts';

export const logoutVerb: Verb = {
  usage: 'logout [SERVER]',
  argumentsMin: 0,
  argumentsMax: 1,
  help: `
Examples:
  tsvm logout registry.example`,
  addOptions: (command) => command,
  run: async ([server]) => {
    const domain = domainOf(server);
    const name = CredentialStore.server(domain);
    const had = new CredentialStore().remove(domain);
    writeLine(had ? `Removing login credentials for ${name}` : `Not logged in to ${name}`);
    return 0;
  },
};
