/**
 * `containers.conf` for podman with runc, which needs neither cgroups v2 nor more limits than a process
 * of this host may have.
 */
export const PODMAN_CONFIG = `[containers]
default_ulimits=["nofile=1024:1024","nproc=4096:4096"]
netns="none"
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
`;
