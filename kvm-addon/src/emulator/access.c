#include "access.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "walk.h"

#define PAGE_LENGTH 4096u

static struct emu_mmu current_mmu(struct emu_cpu *cpu)
{
    const struct kvm_sregs *sregs = emu_sregs(&cpu->state);
    return (struct emu_mmu){
        .memory = cpu->vm->memory,
        .cr0 = sregs->cr0,
        .cr3 = sregs->cr3,
        .cr4 = sregs->cr4,
        .efer = sregs->efer,
        .is_user = emu_is_user(&cpu->state),
        .allow_access = emu_regs(&cpu->state)->rflags & EMU_RFLAGS_AC,
    };
}

static unsigned bytes_to_page_end(uint64_t address)
{
    return PAGE_LENGTH - address % PAGE_LENGTH;
}

enum emu_outcome emu_span_map(struct emu_cpu *cpu, uint64_t address, size_t length, bool is_write,
                              struct emu_span *span)
{
    struct emu_mmu mmu = current_mmu(cpu);
    size_t done = 0;

    if (length == 0 || length > EMU_SPAN_LENGTH_MAX)
        return emu_refuse(cpu, "an access of %zu bytes", length);
    span->memory = mmu.memory;
    span->first_length = bytes_to_page_end(address);
    for (unsigned i = 0; done < length; i++) {
        uint64_t at = address + done;
        struct emu_page page;
        switch (emu_walk(&mmu, at, is_write, &page)) {
        case EMU_WALK_OK:
            break;
        case EMU_WALK_PAGE_FAULT:
            cpu->counters[EMU_COUNTER_FAULT]++;
            emu_raise_page_fault(&cpu->state, at, page.error_code);
            return EMU_FAULTED;
        case EMU_WALK_NON_CANONICAL:
            return emu_fault_general_protection(cpu);
        case EMU_WALK_RACED:
            return EMU_RETRY;
        case EMU_WALK_NOT_RAM:
            return emu_refuse(cpu,
                              "its operand at 0x%llx needs guest-physical address 0x%llx, where "
                              "there is no memory",
                              (unsigned long long)at, (unsigned long long)page.gpa);
        }
        span->pages[i] = page.hva;
        done += bytes_to_page_end(at);
    }
    return EMU_COMPLETED;
}

/* Host address of the byte at `offset` in the span. `length` becomes the contiguous bytes there. */
static uint8_t *span_at(const struct emu_span *span, size_t offset, size_t *length)
{
    if (offset < span->first_length) {
        *length = span->first_length - offset;
        return span->pages[0] + offset;
    }
    size_t beyond = offset - span->first_length;
    *length = PAGE_LENGTH - beyond % PAGE_LENGTH;
    return span->pages[1 + beyond / PAGE_LENGTH] + beyond % PAGE_LENGTH;
}

void emu_span_read(const struct emu_span *span, size_t offset, void *data, size_t length)
{
    uint8_t *bytes = data;
    while (length > 0) {
        size_t run;
        const uint8_t *from = span_at(span, offset, &run);
        if (run > length)
            run = length;
        memcpy(bytes, from, run);
        bytes += run;
        offset += run;
        length -= run;
    }
}

void emu_span_write(const struct emu_span *span, size_t offset, const void *data, size_t length)
{
    const uint8_t *bytes = data;
    while (length > 0) {
        size_t run;
        uint8_t *to = span_at(span, offset, &run);
        if (run > length)
            run = length;
        memcpy(to, bytes, run);
        guest_memory_tell_host(span->memory, to, run);
        bytes += run;
        offset += run;
        length -= run;
    }
}

enum emu_outcome emu_read(struct emu_cpu *cpu, uint64_t address, void *data, size_t length)
{
    struct emu_span span;
    enum emu_outcome outcome = emu_span_map(cpu, address, length, false, &span);
    if (outcome == EMU_COMPLETED)
        emu_span_read(&span, 0, data, length);
    return outcome;
}

enum emu_outcome emu_write(struct emu_cpu *cpu, uint64_t address, const void *data, size_t length)
{
    struct emu_span span;
    enum emu_outcome outcome = emu_span_map(cpu, address, length, true, &span);
    if (outcome == EMU_COMPLETED)
        emu_span_write(&span, 0, data, length);
    return outcome;
}

size_t emu_read_mapped(struct emu_cpu *cpu, uint64_t address, uint8_t *data, size_t length)
{
    struct emu_mmu mmu = current_mmu(cpu);
    size_t done = 0;

    /* SMAP does not apply to instruction fetches. */
    mmu.allow_access = true;
    while (done < length) {
        struct emu_page page;
        if (emu_walk(&mmu, address + done, false, &page) != EMU_WALK_OK)
            break;
        size_t run = bytes_to_page_end(address + done);
        if (run > length - done)
            run = length - done;
        memcpy(data + done, page.hva, run);
        done += run;
    }
    return done;
}

enum emu_outcome emu_fault(struct emu_cpu *cpu, unsigned vector)
{
    cpu->counters[EMU_COUNTER_FAULT]++;
    emu_raise(&cpu->state, vector);
    return EMU_FAULTED;
}

enum emu_outcome emu_fault_general_protection(struct emu_cpu *cpu)
{
    cpu->counters[EMU_COUNTER_FAULT]++;
    emu_raise_with_code(&cpu->state, EMU_VECTOR_GP, 0);
    return EMU_FAULTED;
}

enum emu_outcome emu_refuse(struct emu_cpu *cpu, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(cpu->error, sizeof cpu->error, format, arguments);
    va_end(arguments);
    return EMU_REFUSED;
}
