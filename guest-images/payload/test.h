/* Tests and benchmarks by name, and their results on the serial port. */
#ifndef PAYLOAD_TEST_H
#define PAYLOAD_TEST_H

#include <stddef.h>

enum verdict {
    VERDICT_PASSED,
    VERDICT_FAILED,
    VERDICT_SKIPPED,
};

struct test {
    const char *name;
    enum verdict (*run)(void);
};

struct test_suite {
    const struct test *tests;
    size_t count;
    /* In place of `tests`: a test for each entry of a table. */
    const char *(*name_of)(size_t index);
    enum verdict (*run_entry)(size_t index);
};

#define TEST_SUITE(array)                                                                          \
    {                                                                                              \
        .tests = (array), .count = sizeof(array) / sizeof((array)[0])                              \
    }

extern const struct test_suite test_suite_machine, test_suite_acpi, test_suite_smp, test_suite_blk,
    test_suite_blk_limits, test_suite_interrupts, test_suite_rng, test_suite_bad_rings,
    test_suite_bad_placements, test_suite_bad_requests, test_suite_bad_registers,
    test_suite_flush_load, test_suite_cpl0_tables, test_suite_cpl0_code, test_suite_cpl0_exceptions,
    test_suite_cpl0_breakpoints, test_suite_cpl0_endless, test_suite_cpl0_opcodes,
    test_suite_cpl0_interrupts, test_suite_chaos, test_suite_vsock, test_suite_fs, test_suite_net,
    test_suite_hosted, test_suite_memory_devices, test_suite_pci, test_suite_blk_requests,
    test_suite_bad_device_rings, test_suite_bad_device_registers, test_suite_isolation,
    test_suite_race_blk;
extern const struct test_suite bench_suite_blk, bench_suite_blk_latency, bench_suite_blk_queues,
    bench_suite_exits, bench_suite_net, bench_suite_vsock;

/* Each sets the text after the test's name in its result line and returns the verdict. */
enum verdict test_passed(const char *format, ...) __attribute__((format(printf, 1, 2)));
enum verdict test_failed(const char *format, ...) __attribute__((format(printf, 1, 2)));
enum verdict test_skipped(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define REQUIRE(condition, ...)                                                                    \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return test_failed(__VA_ARGS__);                                                       \
    } while (0)

/* For a step that has itself set the text. */
#define REQUIRE_PASSED(expression)                                                                 \
    do {                                                                                           \
        enum verdict verdict = (expression);                                                       \
        if (verdict != VERDICT_PASSED)                                                             \
            return verdict;                                                                        \
    } while (0)

/* Runs the tests and benchmarks listed in tests= and bench=. A name also selects all tests that
 * begin with it and a hyphen. Returns the number of failures. */
unsigned tests_run(void);

#endif
