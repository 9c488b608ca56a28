import { readFileSync } from 'node:fs';

/** Tables of the IPv4 and IPv6 routes of this process's network namespace: proc_net(5). */
const ROUTES = '/proc/net/route';
const ROUTES_IPV6 = '/proc/net/ipv6_route';

/** Whether this host has a default route, IPv4 or IPv6. */
export function hasDefaultRoute(): boolean {
  return listsDefaultRoute(readTable(ROUTES), readTable(ROUTES_IPV6));
}

/** Whether this host has a default route for IPv4. */
export function hasIpv4DefaultRoute(): boolean {
  return listsDefaultRoute(readTable(ROUTES), '');
}

/** @param routes, routesIpv6 the contents of {@link ROUTES} and {@link ROUTES_IPV6} */
export function listsDefaultRoute(routes: string, routesIpv6: string): boolean {
  // Interface, destination, gateway, and so on; the mask is the eighth column.
  const ipv4 = routes
    .split('\n')
    .map((line) => line.split(/\s+/))
    .some(([, destination, , , , , , mask]) => destination === '00000000' && mask === '00000000');
  // Destination, its prefix length, and so on; the interface is last. Loopback has a default route that
  // rejects packets.
  const ipv6 = /^0{32} 00 .* (?!lo$)\S+$/m.test(routesIpv6);
  return ipv4 || ipv6;
}

function readTable(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
