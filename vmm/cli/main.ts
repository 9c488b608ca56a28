/** What runs from the source, where there is no bundle: `start.ts` does the same for that. */
await (process.argv[2] === 'image' ? import('./image-main.ts') : import('./machine-main.ts'));
