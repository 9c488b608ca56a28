/*
 * Seccomp filters from tables: one row for a system call, perhaps only with certain arguments, with
 * the reason.
 */
#ifndef TSVM_FILTER_H
#define TSVM_FILTER_H

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

enum filter_test {
    FILTER_ALWAYS,  /* whatever the arguments are */
    FILTER_EQUAL,   /* the argument is the value */
    FILTER_DIFFERS, /* the argument is not the value */
    FILTER_HAS,     /* the argument has one of the value's bits */
    FILTER_LACKS,   /* the argument has none of the value's bits */
    FILTER_NOT_NULL /* the argument is a pointer */
};

/* All but FILTER_NOT_NULL look at an argument's low 32 bits: those that the kernel takes as an int.
 */
struct filter_row {
    int call;
    enum filter_test test;
    unsigned argument; /* 0 to 5 */
    uint32_t value;
    uint32_t action; /* SECCOMP_RET_… */
    const char *reason;
};

/* Conditions of a row. */
#define ALWAYS FILTER_ALWAYS, 0, 0
#define EQUAL(argument, value) FILTER_EQUAL, argument, value
#define DIFFERS(argument, value) FILTER_DIFFERS, argument, value
#define HAS(argument, bits) FILTER_HAS, argument, bits
#define LACKS(argument, bits) FILTER_LACKS, argument, bits
#define NOT_NULL(argument) FILTER_NOT_NULL, argument, 0

struct filter_table {
    const struct filter_row *rows;
    size_t count;
};

#define FILTER_TABLES_MAX 3
/* The most instructions that the kernel takes. */
#define FILTER_LENGTH_MAX 4096

/*
 * A filter: the first row that matches decides, else `otherwise` does. Rows with a condition that
 * are met often come first; the kernel (5.11 and later) remembers which calls always pass, and runs
 * the filter for the others only.
 */
struct filter {
    struct filter_table tables[FILTER_TABLES_MAX];
    uint32_t otherwise; /* SECCOMP_RET_… */
};

/*
 * Translates a filter into `length_max` instructions at most. Returns their number or -E2BIG.
 * System calls of other architectures, which have other numbers, get SECCOMP_RET_TRAP.
 */
int filter_compile(const struct filter *filter, struct sock_filter *code, size_t length_max);

/*
 * Installs code for the calling thread, or for all threads of the process. It needs no_new_privs.
 * Returns 0 or -errno.
 */
int filter_install(const struct sock_filter *code, size_t length, int all_threads);

#endif
