/* Copies of any length, and implicit supervisor accesses. */
#include <string.h>

#include "access.h"
#include "tlb.h"

void access_copy_in(struct cpu *cpu, struct insn *insn, uint64_t va, void *to, unsigned length)
{
    uint8_t *out = to;
    while (length > 0) {
        unsigned size = (unsigned)(PAGE_SIZE - (va & PAGE_OFFSET));
        const void *page = access_host_page(cpu, insn, va, false);
        if (page) {
            if (size > length)
                size = length;
            memcpy(out, page, size);
        } else {
            uint64_t value;
            size = length < 8 ? 1 : 8;
            value = access_load_as(cpu, insn, access_mode(cpu), va, size);
            memcpy(out, &value, size);
        }
        out += size;
        va += size;
        length -= size;
    }
}

void access_copy_out(struct cpu *cpu, struct insn *insn, uint64_t va, const void *from,
                     unsigned length)
{
    const uint8_t *in = from;
    for (uint64_t at = va, left = length; left > 0;) {
        uint64_t size = PAGE_SIZE - (at & PAGE_OFFSET);
        access_host_page(cpu, insn, at, true);
        if (size > left)
            size = left;
        at += size;
        left -= size;
    }
    while (length > 0) {
        unsigned size = (unsigned)(PAGE_SIZE - (va & PAGE_OFFSET));
        void *page = access_host_page(cpu, insn, va, true);
        if (page) {
            if (size > length)
                size = length;
            memcpy(page, in, size);
        } else {
            uint64_t value = 0;
            size = length < 8 ? 1 : 8;
            memcpy(&value, in, size);
            access_store_as(cpu, insn, access_mode(cpu), va, size, value);
        }
        in += size;
        va += size;
        length -= size;
    }
}

/* They use the TLB of the supervisor, which serves the same accesses. */
static uint8_t *system_hit(struct cpu *cpu, uint64_t va, unsigned size, bool is_write)
{
    const struct tlb_entry *entry = &cpu->tlbs[TLB_SUPERVISOR][va >> 12 & (TLB_ENTRIES - 1)];
    uint64_t tag = is_write ? entry->write : entry->read;
    return tag == ((va + size - 1) & PAGE_BASE) ? entry->page + (va & PAGE_OFFSET) : NULL;
}

uint64_t access_system_load(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size)
{
    uint8_t *hit = system_hit(cpu, va, size, false);
    uint64_t value = 0;
    if (!hit)
        return access_load_as(cpu, insn, TLB_SUPERVISOR, va, size);
    memcpy(&value, hit, size);
    return value;
}

void access_system_store(struct cpu *cpu, struct insn *insn, uint64_t va, unsigned size,
                         uint64_t value)
{
    uint8_t *hit = system_hit(cpu, va, size, true);
    if (hit)
        memcpy(hit, &value, size);
    else
        access_store_as(cpu, insn, TLB_SUPERVISOR, va, size, value);
}
