/** Writes the metadata image of a layer and prints the time it took: `write-metadata.ts LAYER IMAGE` */
import { openSync } from 'node:fs';
import { writeRootfs } from '../../vmm/container/rootfs/build-rootfs.ts';

const [, , layer = '', image = ''] = process.argv;
const startMs = performance.now();
writeRootfs([layer], openSync(image, 'w'), Buffer.alloc(16), 'referred');
const ms = performance.now() - startMs;
process.stdout.write(JSON.stringify({ ms, peakMib: process.resourceUsage().maxRSS / 1024 }));
