/** The virtio PCI transport: virtio 1.2, section 4.1. */

export const PCI_VENDOR_VIRTIO = 0x1af4;
/** Added to the virtio device number (4.1.2.1). */
export const PCI_DEVICE_BASE = 0x1040;

/** Kinds of structures (4.1.4). */
export const CapabilityType = { Common: 1, Notify: 2, Isr: 3, Device: 4, PciConfig: 5 } as const;

/** Where the structures are in BAR 0. */
export const BAR_BYTES = 0x8000;
export const COMMON_OFFSET = 0x0000;
export const COMMON_BYTES = 0x40;
export const ISR_OFFSET = 0x1000;
export const ISR_BYTES = 1;
export const DEVICE_OFFSET = 0x2000;
export const DEVICE_BYTES = 0x1000;
export const NOTIFY_OFFSET = 0x3000;
export const NOTIFY_BYTES = 0x1000;
export const MSIX_TABLE_OFFSET = 0x4000;
export const MSIX_PENDING_OFFSET = 0x6000;

/** Each queue has its own address, so that its number need not be compared. */
export const NOTIFY_MULTIPLIER = 4;
/** A driver writes the queue's number, 16 bits wide (4.1.5.2). */
export const NOTIFY_WRITE_BYTES = 2;

/** No vector for this event (4.1.5.1.2). */
export const NO_VECTOR = 0xffff;

export const ISR_QUEUE = 1;
export const ISR_CONFIG = 2;

/** `struct virtio_pci_common_cfg` (4.1.4.3): offset and width of each register. */
export const CommonRegister = {
  DeviceFeatureSelect: 0x00,
  DeviceFeature: 0x04,
  DriverFeatureSelect: 0x08,
  DriverFeature: 0x0c,
  ConfigVector: 0x10,
  NumQueues: 0x12,
  DeviceStatus: 0x14,
  ConfigGeneration: 0x15,
  QueueSelect: 0x16,
  QueueSize: 0x18,
  QueueVector: 0x1a,
  QueueEnable: 0x1c,
  QueueNotifyOffset: 0x1e,
  QueueDescriptorLow: 0x20,
  QueueDescriptorHigh: 0x24,
  QueueDriverLow: 0x28,
  QueueDriverHigh: 0x2c,
  QueueDeviceLow: 0x30,
  QueueDeviceHigh: 0x34,
} as const;

/** Width in bytes of each register: drivers use no other (4.1.3.1). */
export const COMMON_WIDTHS: ReadonlyMap<number, number> = new Map<number, number>([
  [CommonRegister.DeviceFeatureSelect, 4],
  [CommonRegister.DeviceFeature, 4],
  [CommonRegister.DriverFeatureSelect, 4],
  [CommonRegister.DriverFeature, 4],
  [CommonRegister.ConfigVector, 2],
  [CommonRegister.NumQueues, 2],
  [CommonRegister.DeviceStatus, 1],
  [CommonRegister.ConfigGeneration, 1],
  [CommonRegister.QueueSelect, 2],
  [CommonRegister.QueueSize, 2],
  [CommonRegister.QueueVector, 2],
  [CommonRegister.QueueEnable, 2],
  [CommonRegister.QueueNotifyOffset, 2],
  [CommonRegister.QueueDescriptorLow, 4],
  [CommonRegister.QueueDescriptorHigh, 4],
  [CommonRegister.QueueDriverLow, 4],
  [CommonRegister.QueueDriverHigh, 4],
  [CommonRegister.QueueDeviceLow, 4],
  [CommonRegister.QueueDeviceHigh, 4],
]);
