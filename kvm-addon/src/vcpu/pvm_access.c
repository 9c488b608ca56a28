#include "pvm_access.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "pvm_walk.h"

#define PAGE_LENGTH 4096u

static struct pvm_mmu current_mmu(struct pvm_cpu *cpu)
{
    const struct kvm_sregs *sregs = pvm_sregs(&cpu->state);
    return (struct pvm_mmu){
        .memory = cpu->vm->memory,
        .cr0 = sregs->cr0,
        .cr3 = sregs->cr3,
        .cr4 = sregs->cr4,
        .efer = sregs->efer,
        .is_user = pvm_is_user(&cpu->state),
        .allow_access = pvm_regs(&cpu->state)->rflags & PVM_RFLAGS_AC,
    };
}

static unsigned bytes_to_page_end(uint64_t address)
{
    return PAGE_LENGTH - address % PAGE_LENGTH;
}

enum pvm_outcome pvm_span_map(struct pvm_cpu *cpu, uint64_t address, size_t length, bool is_write,
                              struct pvm_span *span)
{
    struct pvm_mmu mmu = current_mmu(cpu);
    size_t done = 0;

    if (length == 0 || length > PVM_SPAN_LENGTH_MAX)
        return pvm_refuse(cpu, "an access of %zu bytes", length);
    span->first_length = bytes_to_page_end(address);
    for (unsigned i = 0; done < length; i++) {
        uint64_t at = address + done;
        struct pvm_page page;
        switch (pvm_walk(&mmu, at, is_write, &page)) {
        case PVM_WALK_OK:
            break;
        case PVM_WALK_PAGE_FAULT:
            cpu->counters[PVM_COUNTER_FAULT]++;
            pvm_raise_page_fault(&cpu->state, at, page.error_code);
            return PVM_FAULTED;
        case PVM_WALK_NON_CANONICAL:
            return pvm_fault_general_protection(cpu);
        case PVM_WALK_RACED:
            return PVM_RETRY;
        case PVM_WALK_NOT_RAM:
            return pvm_refuse(cpu,
                              "its operand at 0x%llx needs guest-physical address 0x%llx, where "
                              "there is no memory",
                              (unsigned long long)at, (unsigned long long)page.gpa);
        }
        span->pages[i] = page.hva;
        done += bytes_to_page_end(at);
    }
    return PVM_COMPLETED;
}

/* The host address of a byte of the span, and how many follow it without a break. */
static uint8_t *span_at(const struct pvm_span *span, size_t offset, size_t *length)
{
    if (offset < span->first_length) {
        *length = span->first_length - offset;
        return span->pages[0] + offset;
    }
    size_t beyond = offset - span->first_length;
    *length = PAGE_LENGTH - beyond % PAGE_LENGTH;
    return span->pages[1 + beyond / PAGE_LENGTH] + beyond % PAGE_LENGTH;
}

void pvm_span_read(const struct pvm_span *span, size_t offset, void *data, size_t length)
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

void pvm_span_write(const struct pvm_span *span, size_t offset, const void *data, size_t length)
{
    const uint8_t *bytes = data;
    while (length > 0) {
        size_t run;
        uint8_t *to = span_at(span, offset, &run);
        if (run > length)
            run = length;
        memcpy(to, bytes, run);
        bytes += run;
        offset += run;
        length -= run;
    }
}

enum pvm_outcome pvm_read(struct pvm_cpu *cpu, uint64_t address, void *data, size_t length)
{
    struct pvm_span span;
    enum pvm_outcome outcome = pvm_span_map(cpu, address, length, false, &span);
    if (outcome == PVM_COMPLETED)
        pvm_span_read(&span, 0, data, length);
    return outcome;
}

enum pvm_outcome pvm_write(struct pvm_cpu *cpu, uint64_t address, const void *data, size_t length)
{
    struct pvm_span span;
    enum pvm_outcome outcome = pvm_span_map(cpu, address, length, true, &span);
    if (outcome == PVM_COMPLETED)
        pvm_span_write(&span, 0, data, length);
    return outcome;
}

size_t pvm_read_mapped(struct pvm_cpu *cpu, uint64_t address, uint8_t *data, size_t length)
{
    struct pvm_mmu mmu = current_mmu(cpu);
    size_t done = 0;

    /* SMAP is about data; this reads instructions. */
    mmu.allow_access = true;
    while (done < length) {
        struct pvm_page page;
        if (pvm_walk(&mmu, address + done, false, &page) != PVM_WALK_OK)
            break;
        size_t run = bytes_to_page_end(address + done);
        if (run > length - done)
            run = length - done;
        memcpy(data + done, page.hva, run);
        done += run;
    }
    return done;
}

enum pvm_outcome pvm_fault(struct pvm_cpu *cpu, unsigned vector)
{
    cpu->counters[PVM_COUNTER_FAULT]++;
    pvm_raise(&cpu->state, vector);
    return PVM_FAULTED;
}

enum pvm_outcome pvm_fault_general_protection(struct pvm_cpu *cpu)
{
    cpu->counters[PVM_COUNTER_FAULT]++;
    pvm_raise_with_code(&cpu->state, PVM_VECTOR_GP, 0);
    return PVM_FAULTED;
}

enum pvm_outcome pvm_refuse(struct pvm_cpu *cpu, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(cpu->error, sizeof cpu->error, format, arguments);
    va_end(arguments);
    return PVM_REFUSED;
}
