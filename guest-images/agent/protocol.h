// The protocol between the agent and the host, over virtio-vsock. vmm/container/agent/protocol.ts
// has the same numbers; a test compares them.
//
// A frame: u32 length of the payload, u8 type, payload; all little-endian. The payload of a
// request, a reply and an event is a list of fields: u8 tag, u32 length, bytes. Text ends with a
// NUL, which counts; a number has 8 bytes. A field of a list stands as often as the list has
// elements.
//
// At boot, the agent connects to port AGENT_PORT of the host and says hello: the control
// connection. There the host sends requests, which are answered in order by FRAME_REPLY or
// FRAME_ERROR, and the agent sends events. Every other request is the first frame of a connection
// of its own, to AGENT_PORT of the guest, so that vsock's credits are the flow control of each.
#pragma once

#define PROTOCOL_VERSION 2
#define AGENT_PORT 1024
// Connections to this port of the guest and N more lead to TCP port N of the container.
#define PUBLISHED_PORT_BASE 65536
// Ports of the host where the agent asks about names of containers, as DNS does over TCP: for
// clients that came over TCP, and for those of UDP, whose answers are truncated if need be.
#define NAMES_STREAM_PORT 1025
#define NAMES_DATAGRAM_PORT 1026

// Longest payload of a request, and of a frame of data, in bytes.
#define REQUEST_BYTES_MAX (4u << 20)
#define DATA_BYTES_MAX (256u << 10)
// A disk of this size keeps the place of another, which a restored machine gets.
#define PLACEHOLDER_BYTES 512
// Of the folder `upper` of a writable disk that no container has had.
#define UPPER_UNUSED_MODE 01500
#define FRAME_HEADER_BYTES 5
#define FIELD_HEADER_BYTES 5

enum frame_type {
    // From the agent.
    FRAME_HELLO = 1,
    FRAME_REPLY = 2,
    FRAME_ERROR = 3,
    FRAME_EVENT = 4,
    // On the control connection.
    FRAME_ASSEMBLE = 16,
    FRAME_SIGNAL = 17,
    FRAME_RESIZE = 18,
    FRAME_STATS = 19,
    FRAME_LIMITS = 20,
    FRAME_CLOCK = 21,
    FRAME_SHUTDOWN = 22,
    FRAME_FREEZE = 23, // the container's processes
    FRAME_THAW = 24,
    FRAME_PREPARE = 25,  // completes what the boot began, and rehearses a container
    FRAME_RESTORED = 26, // the machine goes on from a saved state
    FRAME_ATTACH_INTERFACE = 27,
    FRAME_DETACH_INTERFACE = 28,
    // First frames of other connections.
    FRAME_START = 32,
    FRAME_PROCESSES = 33,
    FRAME_PATH_STAT = 34,
    FRAME_READ_ARCHIVE = 35,
    FRAME_WRITE_ARCHIVE = 36,
    FRAME_CHANGES = 37,
    FRAME_UPPER_ARCHIVE = 38,
    FRAME_ROOT_ARCHIVE = 39,
    FRAME_TRIM = 40,
    // Streams on them. A frame without a payload ends a stream.
    FRAME_STDIN = 48,
    FRAME_STDOUT = 49,
    FRAME_STDERR = 50,
    FRAME_EXIT = 51,
    FRAME_DATA = 52,
};

// Fields of FRAME_ERROR; codes as in agent.ts.
enum error_tag { ERROR_CODE = 1, ERROR_ERRNO = 2, ERROR_TEXT = 3 };

enum error_code {
    ERROR_PROGRAM_NOT_FOUND = 1,
    ERROR_PROGRAM_NOT_EXECUTABLE = 2,
    ERROR_NO_WORKING_DIRECTORY = 3,
    ERROR_NO_SUCH_USER = 4,
    ERROR_NO_SUCH_GROUP = 5,
    ERROR_PATH_NOT_FOUND = 6,
    ERROR_WRONG_PATH_TYPE = 7,
    ERROR_PROCESS_ENDED = 8,
    ERROR_WRONG_STATE = 9,
    ERROR_INVALID_REQUEST = 10,
    ERROR_GUEST_FAILED = 11,
};

enum hello_tag { HELLO_VERSION = 1, HELLO_UPTIME_US = 2 };

// FRAME_EVENT
enum event_tag { EVENT_KIND = 1, EVENT_COUNT = 2 };
enum event_kind { EVENT_OOM = 1 };

// FRAME_ASSEMBLE; its limits are FRAME_LIMITS' fields.
enum root_tag {
    ROOT_METADATA_BYTES = 1,
    ROOT_WRITABLE_MEMORY = 2,
    ROOT_READ_ONLY = 3,
    ROOT_HOSTNAME = 4,
    ROOT_DOMAINNAME = 5,
    ROOT_HOSTS = 6,
    ROOT_RESOLV_CONF = 7,
    ROOT_MOUNT = 8,
    ROOT_INTERFACE = 9,
    ROOT_SYSCTL = 10, // NAME=VALUE
    ROOT_LIMITS = 11,
    ROOT_SHM_BYTES = 12,
    ROOT_PRIVILEGED = 13,
    ROOT_INIT = 14,
    ROOT_PUBLISHED_PORT = 15, // of TCP
    ROOT_NAMES = 16,
};

enum mount_tag {
    MOUNT_TYPE = 1,
    MOUNT_DESTINATION = 2,
    MOUNT_READ_ONLY = 3,
    MOUNT_SHARE_TAG = 4,
    MOUNT_SOURCE = 5,
    MOUNT_COPY_UP = 6,
    MOUNT_SIZE_BYTES = 7,
    MOUNT_MODE = 8,
    MOUNT_FLAGS = 9, // MS_*
    MOUNT_PORT = 10,
    MOUNT_USER_ID = 11,
    MOUNT_GROUP_ID = 12,
    MOUNT_SIZE_PERCENT = 13, // of the memory
    MOUNT_INODES = 14,
};
enum mount_type { MOUNT_SHARE = 1, MOUNT_TMPFS = 2, MOUNT_SOCKET = 3 };

enum interface_tag {
    INTERFACE_MAC = 1, // 6 bytes
    INTERFACE_NAME = 2,
    INTERFACE_DHCP = 3,
    INTERFACE_ADDRESS = 4, // 4 or 16 bytes and the prefix length
    INTERFACE_GATEWAY = 5, // 4 or 16 bytes
    INTERFACE_MTU = 6,
    INTERFACE_DEVICE_MAC = 7, // of the device, where it is to have another
};

// FRAME_ATTACH_INTERFACE, FRAME_DETACH_INTERFACE
enum link_tag { LINK_INTERFACE = 1, LINK_RESOLV_CONF = 2, LINK_NAMES = 3 };

// How the container's names are resolved: by the agent, which asks the host and these name servers.
enum names_tag { NAMES_SERVER = 1 }; // 4 or 16 bytes

enum limits_tag {
    LIMITS_MEMORY_BYTES = 1, // 0 in each: no limit
    LIMITS_CPU_MICROS = 2,   // a second
    LIMITS_CPU_WEIGHT = 3,
    LIMITS_CPUSET = 4,
    LIMITS_PIDS = 5,
};

enum start_tag {
    START_IN_GUEST = 1,
    START_ARGUMENT = 2,
    START_VARIABLE = 3,
    START_DIRECTORY = 4,
    START_USER = 5,
    START_GROUP = 6,
    START_COLUMNS = 7, // with START_ROWS: a terminal
    START_ROWS = 8,
    START_STDIN = 9,
    START_CAPABILITIES = 10, // a bit mask
    START_NO_NEW_PRIVILEGES = 11,
    START_SECCOMP = 12,
    START_RESOURCE_LIMIT = 13, // u32 number, u64 soft, u64 hard
    START_OOM_SCORE_ADJUST = 14,
    START_SECCOMP_FILTER = 15, // struct sock_filter, instead of START_SECCOMP
};
// FRAME_REPLY to FRAME_START
enum started_tag { STARTED_PROCESS = 1 };
// FRAME_EXIT
enum exit_tag { EXIT_CODE = 1, EXIT_SIGNAL = 2 };

// FRAME_SIGNAL, FRAME_RESIZE
enum signal_tag { SIGNAL_PROCESS = 1, SIGNAL_NUMBER = 2 };
enum resize_tag { RESIZE_PROCESS = 1, RESIZE_COLUMNS = 2, RESIZE_ROWS = 3 };

enum stats_tag {
    STATS_UPTIME_US = 1,
    STATS_CPU_US = 2,
    STATS_CPU_USER_US = 3,
    STATS_CPU_SYSTEM_US = 4,
    STATS_THROTTLED_US = 5,
    STATS_ONLINE_CPUS = 6,
    STATS_MEMORY_BYTES = 7,
    STATS_MEMORY_LIMIT_BYTES = 8,
    STATS_PIDS = 9,
    STATS_PIDS_LIMIT = 10,
    STATS_BLOCK_READ_BYTES = 11,
    STATS_BLOCK_WRITE_BYTES = 12,
    STATS_OOM_KILLS = 13,
    STATS_INTERFACE = 14,
};
enum stats_interface_tag {
    STATS_INTERFACE_NAME = 1,
    STATS_INTERFACE_RECEIVED_BYTES = 2,
    STATS_INTERFACE_RECEIVED_PACKETS = 3,
    STATS_INTERFACE_SENT_BYTES = 4,
    STATS_INTERFACE_SENT_PACKETS = 5,
};

// FRAME_CLOCK
enum clock_tag { CLOCK_SECONDS = 1, CLOCK_NANOSECONDS = 2 };

// FRAME_RESTORED
enum restored_tag { RESTORED_SEED = 1 }; // entropy of the host

// FRAME_PATH_STAT, FRAME_READ_ARCHIVE, FRAME_WRITE_ARCHIVE
enum path_tag {
    PATH_PATH = 1,
    PATH_NO_OVERWRITE_DIRECTORY = 2,
    PATH_KEEP_OWNERS = 3,
};
enum path_stat_tag {
    PATH_STAT_NAME = 1,
    PATH_STAT_SIZE = 2,
    PATH_STAT_MODE = 3,
    PATH_STAT_MODIFIED_NS = 4,
    PATH_STAT_USER_ID = 5,
    PATH_STAT_GROUP_ID = 6,
    PATH_STAT_LINK_TARGET = 7,
};

// FRAME_PROCESSES answers with one FRAME_DATA for each process, and FRAME_REPLY.
enum process_tag {
    PROCESS_PID = 1,
    PROCESS_PARENT = 2,
    PROCESS_USER_ID = 3,
    PROCESS_USER = 4,
    PROCESS_STATE = 5,
    PROCESS_TERMINAL = 6,
    PROCESS_STARTED_MS = 7,
    PROCESS_CPU_MS = 8,
    PROCESS_RESIDENT_BYTES = 9,
    PROCESS_VIRTUAL_BYTES = 10,
    PROCESS_ARGUMENTS = 11, // each ends with a NUL
};
