// Headers of tar archives: POSIX.1-2017, "ustar Interchange Format".
#pragma once

#define TAR_BLOCK 512
#define TAR_XATTR_PREFIX "SCHILY.xattr."

struct tar_header {
    char name[100];
    char mode[8];
    char uid[8];
    char gid[8];
    char size[12];
    char mtime[12];
    char checksum[8];
    char type;
    char link[100];
    char magic[8];
    char user[32];
    char group[32];
    char major[8];
    char minor[8];
    char prefix[155];
    char padding[12];
};

enum tar_type {
    TAR_FILE_OLD = 0,
    TAR_FILE = '0',
    TAR_HARD_LINK = '1',
    TAR_SYMLINK = '2',
    TAR_CHARACTER = '3',
    TAR_BLOCK_DEVICE = '4',
    TAR_FOLDER = '5',
    TAR_FIFO = '6',
    TAR_CONTIGUOUS = '7',
    TAR_GLOBAL = 'g',
    TAR_EXTENDED = 'x',
    TAR_LONG_NAME = 'L', // GNU
    TAR_LONG_LINK = 'K',
};
