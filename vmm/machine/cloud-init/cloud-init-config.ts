import { checkFields, invalid, type Kind, TEXT, TEXTS } from '../config-fields.ts';

/** What a guest's cloud-init gets, on a disk of its data source NoCloud. */
export interface CloudInitConfig {
  /** A file that begins with `#cloud-config`, `#!` or another header that cloud-init knows. */
  readonly userDataPath?: string | undefined;
  /** Default: made of `hostname` and `sshKeyPaths`. */
  readonly metaDataPath?: string | undefined;
  /** Default: none; cloud-init then uses DHCP. */
  readonly networkConfigPath?: string | undefined;
  readonly hostname?: string | undefined;
  /** Files with public keys for the default user, one a line. */
  readonly sshKeyPaths?: readonly string[] | undefined;
  /** Of the default user, for the console and SSH. */
  readonly password?: string | undefined;
}

const FIELDS: Readonly<Record<keyof CloudInitConfig, Kind>> = {
  userDataPath: TEXT,
  metaDataPath: TEXT,
  networkConfigPath: TEXT,
  hostname: TEXT,
  sshKeyPaths: TEXTS,
  password: TEXT,
};

/** RFC 1123, section 2.1. */
const HOSTNAME =
  /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/i;

/** @throws TsvmError `invalid-config` */
export function checkCloudInit(config: CloudInitConfig): void {
  checkFields('"cloudInit"', config, FIELDS);
  const { hostname, metaDataPath, sshKeyPaths = [], password } = config;
  if (hostname !== undefined && !HOSTNAME.test(hostname)) {
    invalid(`the host name "${hostname}": use letters, digits, "-" and "."`);
  }
  if (metaDataPath !== undefined && (hostname !== undefined || sshKeyPaths.length > 0)) {
    invalid('meta-data contradicts a host name and SSH keys: put them into it');
  }
  if (password === '' || (password !== undefined && /[\n\r\0]/.test(password))) {
    invalid('the password is empty or has several lines');
  }
}
