#include "filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <unistd.h>

/* Bit of x32's system calls, which are those of another architecture with this one's name. */
#define X32_BIT 0x40000000u

struct writer {
    struct sock_filter *code;
    size_t length;
    size_t length_max;
};

static void emit(struct writer *writer, uint16_t code, uint8_t if_true, uint8_t if_false,
                 uint32_t value)
{
    if (writer->length < writer->length_max)
        writer->code[writer->length] = (struct sock_filter){code, if_true, if_false, value};
    writer->length++;
}

static void emit_load(struct writer *writer, size_t offset)
{
    emit(writer, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

static void emit_return(struct writer *writer, uint32_t action)
{
    emit(writer, BPF_RET | BPF_K, 0, 0, action);
}

static size_t argument_offset(const struct filter_row *row)
{
    /* Little endian: the low half first. */
    return offsetof(struct seccomp_data, args) + row->argument * sizeof(uint64_t);
}

/* Goes on after `skip` instructions unless the argument is as the row says. */
static void emit_test(struct writer *writer, const struct filter_row *row)
{
    emit_load(writer, argument_offset(row));
    switch (row->test) {
    case FILTER_ALWAYS:
        break;
    case FILTER_EQUAL:
        emit(writer, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, row->value);
        break;
    case FILTER_DIFFERS:
        emit(writer, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, row->value);
        break;
    case FILTER_HAS:
        emit(writer, BPF_JMP | BPF_JSET | BPF_K, 0, 1, row->value);
        break;
    case FILTER_LACKS:
        emit(writer, BPF_JMP | BPF_JSET | BPF_K, 1, 0, row->value);
        break;
    case FILTER_NOT_NULL:
        emit(writer, BPF_JMP | BPF_JEQ | BPF_K, 0, 2, 0);
        emit_load(writer, argument_offset(row) + sizeof(uint32_t));
        emit(writer, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 0);
        break;
    }
}

/* The accumulator holds the number of the system call before and after. */
static void emit_row(struct writer *writer, const struct filter_row *row)
{
    size_t start = writer->length;
    emit(writer, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, (uint32_t)row->call);
    if (row->test != FILTER_ALWAYS)
        emit_test(writer, row);
    emit_return(writer, row->action);
    if (row->test != FILTER_ALWAYS)
        emit_load(writer, offsetof(struct seccomp_data, nr));
    if (start < writer->length_max)
        writer->code[start].jf = (uint8_t)(writer->length - start - 1);
}

int filter_compile(const struct filter *filter, struct sock_filter *code, size_t length_max)
{
    struct writer writer = {code, 0, length_max};
    emit_load(&writer, offsetof(struct seccomp_data, arch));
    emit(&writer, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
    emit_return(&writer, SECCOMP_RET_TRAP);
    emit_load(&writer, offsetof(struct seccomp_data, nr));
    emit(&writer, BPF_JMP | BPF_JGE | BPF_K, 0, 1, X32_BIT);
    emit_return(&writer, SECCOMP_RET_TRAP);
    for (unsigned i = 0; i < FILTER_TABLES_MAX; i++) {
        const struct filter_table *table = &filter->tables[i];
        for (size_t j = 0; j < table->count; j++)
            emit_row(&writer, &table->rows[j]);
    }
    emit_return(&writer, filter->otherwise);
    return writer.length > length_max ? -E2BIG : (int)writer.length;
}

int filter_install(const struct sock_filter *code, size_t length, int all_threads)
{
    struct sock_fprog program = {(unsigned short)length, (struct sock_filter *)code};
    /*
     * Kernels before 5.16 would also turn off the processor's speculation past stores for whoever
     * has a filter, which makes everything slower. What that protects from is a program that it
     * runs itself, in its own address space; the guest's code runs in another.
     */
    unsigned flags = SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    if (all_threads)
        flags |= SECCOMP_FILTER_FLAG_TSYNC;
    long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (result < 0)
        return -errno;
    /* The id of a thread that has another filter. */
    return result > 0 ? -EBUSY : 0;
}
