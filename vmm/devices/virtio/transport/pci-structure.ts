/** Capability identifier of vendors. */
const CAPABILITY_VENDOR = 0x09;
/** Of `struct virtio_pci_cap`, with the identifier and the link. */
const CAP_BYTES = 16;

/**
 * A capability that tells where a structure is in BAR 0: `struct virtio_pci_cap` (virtio 1.2, section
 * 4.1.4). `extra` is a last word that some kinds have.
 */
export function structureCapability(
  type: number,
  offset: number,
  sizeBytes: number,
  extra?: number,
): { readonly identifier: number; readonly content: Uint8Array } {
  const length = CAP_BYTES + (extra === undefined ? 0 : 4);
  // Without the identifier and the link, which the configuration space writes.
  const content = Buffer.alloc(length - 2);
  content.writeUInt8(length, 0);
  content.writeUInt8(type, 1);
  content.writeUInt32LE(offset, 6);
  content.writeUInt32LE(sizeBytes, 10);
  if (extra !== undefined) content.writeUInt32LE(extra, 14);
  return { identifier: CAPABILITY_VENDOR, content };
}
