/**
 * The modules of a Debian kernel that a guest gets, besides those that they depend on. The drivers of
 * a machine's devices are loaded when the kernel starts, all others when a program needs them.
 */
export const MODULES: readonly string[] = [
  ...['virtio_mmio', 'virtio_blk', 'virtio_net', 'virtio_balloon', 'virtio-rng', 'virtio_pmem'],
  ...['vmw_vsock_virtio_transport', 'virtio_mem', 'nd_pmem'],
  // The power button, and the device that reads it.
  ...['button', 'evdev'],
  'pvpanic-mmio',
  // File systems of images, and what containers are made of.
  ...['erofs', 'overlay', 'squashfs', 'isofs', 'vfat', 'nls_ascii', 'nls_cp437', 'loop'],
  ...['tun', 'veth', 'bridge', 'br_netfilter', 'dummy', 'macvlan'],
  ...['nf_tables', 'nft_ct', 'nft_nat', 'nft_masq', 'nft_redir', 'nft_reject_inet', 'nft_log'],
  ...['nft_limit', 'nft_chain_nat', 'nft_fib_inet', 'nft_compat', 'xt_MASQUERADE', 'xt_conntrack'],
];
