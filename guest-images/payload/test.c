#include "test.h"

#include <stdarg.h>

#include "cmdline.h"
#include "heap.h"
#include "serial.h"
#include "string.h"

static char detail[160];
static unsigned passed, failed, skipped;

static const struct test_suite *const test_suites[] = {
    &test_suite_machine,
    &test_suite_acpi,
    &test_suite_smp,
    &test_suite_blk,
    &test_suite_blk_limits,
    &test_suite_blk_requests,
    &test_suite_interrupts,
    &test_suite_rng,
    &test_suite_bad_rings,
    &test_suite_bad_placements,
    &test_suite_bad_requests,
    &test_suite_bad_registers,
    &test_suite_bad_device_rings,
    &test_suite_bad_device_registers,
    &test_suite_isolation,
    &test_suite_race_blk,
    &test_suite_flush_load,
    &test_suite_cpl0_tables,
    &test_suite_cpl0_code,
    &test_suite_cpl0_exceptions,
    &test_suite_cpl0_breakpoints,
    &test_suite_cpl0_endless,
    &test_suite_cpl0_opcodes,
    &test_suite_cpl0_interrupts,
    &test_suite_chaos,
    &test_suite_vsock,
    &test_suite_fs,
    &test_suite_net,
    &test_suite_hosted,
    &test_suite_memory_devices,
    &test_suite_pci,
};

static const struct test_suite *const bench_suites[] = {
    &bench_suite_blk,   &bench_suite_blk_latency, &bench_suite_blk_queues,
    &bench_suite_exits, &bench_suite_net,         &bench_suite_vsock,
};

static void detail_set(const char *format, va_list arguments)
{
    detail[format_text(detail, sizeof(detail) - 1, format, arguments)] = '\0';
}

#define DEFINE_VERDICT(name, meaning)                                                              \
    enum verdict name(const char *format, ...)                                                     \
    {                                                                                              \
        va_list arguments;                                                                         \
        va_start(arguments, format);                                                               \
        detail_set(format, arguments);                                                             \
        va_end(arguments);                                                                         \
        return meaning;                                                                            \
    }

DEFINE_VERDICT(test_passed, VERDICT_PASSED)
DEFINE_VERDICT(test_failed, VERDICT_FAILED)
DEFINE_VERDICT(test_skipped, VERDICT_SKIPPED)

static bool name_selected(const char *name, struct text selection)
{
    size_t length = strlen(name);
    if (length < selection.length || memcmp(name, selection.start, selection.length) != 0)
        return false;
    return length == selection.length || name[selection.length] == '-';
}

static void result_print(const char *passed_word, const char *name, enum verdict verdict)
{
    static const char *const words[] = {"", "not ok", "skip"};
    const char *word = verdict == VERDICT_PASSED ? passed_word : words[verdict];
    print("%s %s%s%s\n", word, name, detail[0] == '\0' ? "" : " ", detail);
    passed += verdict == VERDICT_PASSED;
    failed += verdict == VERDICT_FAILED;
    skipped += verdict == VERDICT_SKIPPED;
}

static unsigned selected_run(struct text selection, const struct test_suite *suite,
                             const char *passed_word)
{
    unsigned count = 0;
    for (size_t i = 0; i < suite->count; i++) {
        const char *name = suite->tests ? suite->tests[i].name : suite->name_of(i);
        if (!name_selected(name, selection))
            continue;
        void *mark = heap_mark();
        detail[0] = '\0';
        enum verdict verdict = suite->tests ? suite->tests[i].run() : suite->run_entry(i);
        result_print(passed_word, name, verdict);
        heap_rewind(mark);
        count++;
    }
    return count;
}

static void list_run(const char *option, const struct test_suite *const *suites, size_t suite_count,
                     const char *passed_word)
{
    struct text list;
    if (!cmdline_find(option, 0, &list))
        return;
    while (list.length != 0) {
        struct text selection = text_take_until(&list, ',');
        unsigned count = 0;
        for (size_t i = 0; i < suite_count; i++)
            count += selected_run(selection, suites[i], passed_word);
        if (count == 0) {
            print("not ok ");
            serial_write(selection.start, selection.length);
            print(" there is no such name in %s\n", option);
            failed++;
        }
    }
}

unsigned tests_run(void)
{
    list_run("tests", test_suites, sizeof(test_suites) / sizeof(test_suites[0]), "ok");
    list_run("bench", bench_suites, sizeof(bench_suites) / sizeof(bench_suites[0]), "bench");
    print("done passed=%u failed=%u skipped=%u\n", passed, failed, skipped);
    return failed;
}
