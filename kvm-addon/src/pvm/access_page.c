/* Filling of the software TLB. */
#include "access.h"
#include "arch.h"
#include "breakpoints.h"
#include "engine.h"
#include "large_pages.h"
#include "tlb.h"
#include "walk.h"

/* A write to a frame of which this CPU may be executing decoded code must end the run. */
static void check_own_code(struct cpu *cpu, struct insn *insn, const struct frame *frame)
{
    uint32_t code = __atomic_load_n(&frame->code_cpus, __ATOMIC_RELAXED);
    if (insn && !cpu->once && code & 1u << cpu->index)
        cpu_leave(cpu, insn, INTERPRETED_ONCE);
}

struct access_part access_page(struct cpu *cpu, struct insn *insn, enum tlb_mode mode, uint64_t va,
                               bool is_write)
{
    if (!walk_is_canonical(cpu, va))
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    struct walk_request request = {.va = va,
                                   .access = is_write ? WALK_WRITE : WALK_READ,
                                   .user = mode == TLB_USER,
                                   .smap_passes = mode == TLB_SUPERVISOR_AC};
    struct walk_result found = walk(cpu, &request);
    if (found.fault)
        cpu_raise_page_fault(cpu, insn, va, found.error);
    uint64_t tag = va & PAGE_BASE, page_gpa = found.gpa & PAGE_BASE;
    unsigned size = (unsigned)(PAGE_SIZE - (va & PAGE_OFFSET));
    /* A page that cannot be written is a device to writes, and gets no write entry: see below. */
    const struct guest_memory *memory = cpu->engine->memory;
    uint8_t *page = is_write ? guest_memory_at(memory, page_gpa, PAGE_SIZE)
                             : (uint8_t *)guest_memory_readable_at(memory, page_gpa, PAGE_SIZE);
    if (!page)
        return (struct access_part){.gpa = found.gpa, .size = size};

    struct frame *frame = frame_at(&cpu->engine->frames, page_gpa);
    struct access_part part = {.at = page + (va & PAGE_OFFSET), .gpa = found.gpa, .size = size};
    if (breakpoints_in_data(cpu, va)) {
        part.watched = true;
        part.special = is_write && !frame_claim_write(frame, cpu->index);
        if (part.special)
            check_own_code(cpu, insn, frame);
        return part;
    }
    struct tlb_entry *entry = &cpu->tlbs[mode][va >> 12 & (TLB_ENTRIES - 1)];
    if (entry->read != tag || entry->page != page)
        entry->write = tlb_no_tag(cpu, entry);
    if (!found.global && (entry->read != tag || entry->global))
        fills_note(&cpu->tlb_fills[mode], (unsigned)(entry - cpu->tlbs[mode]));
    entry->read = tag;
    entry->page = page;
    entry->span = (uint32_t)found.span;
    entry->global = found.global;
    if (found.span != PAGE_SIZE)
        large_pages_note(cpu, tag, found.span, found.global);

    if (!is_write) {
        /*
         * A page that this CPU has written is likely to be written again, and needs no request to
         * others.
         */
        uint32_t writers = __atomic_load_n(&frame->write_cpus, __ATOMIC_RELAXED);
        if (found.writable && writers & 1u << cpu->index &&
            __atomic_load_n(&frame->flags, __ATOMIC_RELAXED) & FRAME_DIRTY &&
            frame_claim_write(frame, cpu->index))
            tlb_set_write(cpu, entry, tag, page_gpa >> 12);
        return part;
    }
    part.special = !frame_claim_write(frame, cpu->index);
    if (part.special)
        check_own_code(cpu, insn, frame);
    else
        tlb_set_write(cpu, entry, tag, page_gpa >> 12);
    return part;
}

void *access_host_page(struct cpu *cpu, struct insn *insn, uint64_t va, bool is_write)
{
    void *hit = is_write ? tlb_write(cpu, va, 1) : tlb_read(cpu, va, 1);
    if (hit)
        return hit;
    struct access_part part = access_page(cpu, insn, access_mode(cpu), va, is_write);
    return part.special || part.watched ? NULL : part.at;
}
