/** IPv4 addresses and subnets as numbers. */
import { isIPv4 } from 'node:net';

export interface Ipv4Subnet {
  /** Of the network itself: host bits are 0. */
  readonly base: number;
  /** 1 to 30. */
  readonly prefixLength: number;
}

export function ipv4Number(text: string): number | undefined {
  if (!isIPv4(text)) return undefined;
  return text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
}

export function ipv4Text(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.');
}

/** Number of addresses. */
export function subnetSize({ prefixLength }: Ipv4Subnet): number {
  return 2 ** (32 - prefixLength);
}

/** `ADDRESS/LENGTH`; host bits are dropped. Undefined: not one, or without room for hosts. */
export function parseSubnet(text: string): Ipv4Subnet | undefined {
  const [, address = '', length = ''] = /^([\d.]+)\/(\d{1,2})$/.exec(text) ?? [];
  const number = ipv4Number(address);
  const prefixLength = Number(length);
  if (number === undefined || prefixLength < 1 || prefixLength > 30) return undefined;
  const size = 2 ** (32 - prefixLength);
  return { base: number - (number % size), prefixLength };
}

export function subnetText({ base, prefixLength }: Ipv4Subnet): string {
  return `${ipv4Text(base)}/${prefixLength}`;
}

export function contains(subnet: Ipv4Subnet, address: number): boolean {
  return address >= subnet.base && address < subnet.base + subnetSize(subnet);
}

export function overlap(a: Ipv4Subnet, b: Ipv4Subnet): boolean {
  return contains(a, b.base) || contains(b, a.base);
}
