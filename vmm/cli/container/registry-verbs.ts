/** Docker's verbs that may talk to a server. */
import type { REGISTRY_COMMANDS } from '../programs.ts';
import type { LoadVerb } from './verbs.ts';

const importArchive: LoadVerb = async () => (await import('./import.ts')).importVerb;
const pull: LoadVerb = async () => (await import('./pull.ts')).pullVerb;
const push: LoadVerb = async () => (await import('./push.ts')).pushVerb;

export const REGISTRY_VERB_LOADERS: Readonly<Record<(typeof REGISTRY_COMMANDS)[number], LoadVerb>> =
  {
    'image import': importArchive,
    'image pull': pull,
    'image push': push,
    import: importArchive,
    login: async () => (await import('./login.ts')).loginVerb,
    logout: async () => (await import('./logout.ts')).logoutVerb,
    pull,
    push,
  };
