#include "xsave_layout.h"

#include <cpuid.h>
#include <string.h>

#include "state.h"

#define CPUID_XSAVE 0xd
#define CPUID_XSAVE_ECX_ALIGNED 2

/* MXCSR mask of a CPU that stores 0 in the field (Intel SDM volume 1, 11.6.6). */
#define MXCSR_MASK_DEFAULT 0xffbfu

static uint32_t read_mxcsr_mask(void)
{
    uint8_t area[512] __attribute__((aligned(16))) = {0};
    uint32_t mask;

    __asm__ volatile("fxsave64 %0" : "=m"(area));
    memcpy(&mask, area + EMU_XSAVE_MXCSR_MASK, sizeof mask);
    return mask ? mask : MXCSR_MASK_DEFAULT;
}

void emu_xsave_layout_read(struct emu_xsave_layout *layout)
{
    uint32_t eax, ebx, ecx, edx;

    *layout = (struct emu_xsave_layout){
        .supported = EMU_XSTATE_X87 | EMU_XSTATE_SSE,
        .mxcsr_mask = read_mxcsr_mask(),
    };
    if (!__get_cpuid_count(CPUID_XSAVE, 0, &eax, &ebx, &ecx, &edx))
        return;
    uint64_t components = (uint64_t)edx << 32 | eax;
    for (unsigned i = 2; i < EMU_XSTATE_COMPONENTS; i++) {
        if (!(components >> i & 1))
            continue;
        /* EAX: size, EBX: offset in the standard format. */
        __get_cpuid_count(CPUID_XSAVE, i, &eax, &ebx, &ecx, &edx);
        if (eax > EMU_XSAVE_IMAGE_LENGTH || ebx > EMU_XSAVE_IMAGE_LENGTH - eax ||
            ebx < EMU_XSAVE_EXTENDED)
            continue;
        layout->supported |= 1ull << i;
        layout->size[i] = (uint16_t)eax;
        layout->offset[i] = (uint16_t)ebx;
        if (ecx & CPUID_XSAVE_ECX_ALIGNED)
            layout->aligned |= 1ull << i;
    }
}

size_t emu_xsave_offsets(const struct emu_xsave_layout *layout, uint64_t components,
                         uint64_t xcomp_bv, uint16_t offsets[EMU_XSTATE_COMPONENTS])
{
    size_t compacted_end = EMU_XSAVE_EXTENDED;
    size_t end = EMU_XSAVE_EXTENDED;

    for (unsigned i = 2; i < EMU_XSTATE_COMPONENTS; i++) {
        size_t offset = layout->offset[i];
        if (xcomp_bv) {
            if (!(xcomp_bv >> i & 1))
                continue;
            if (layout->aligned >> i & 1)
                compacted_end = (compacted_end + 63) & ~(size_t)63;
            offset = compacted_end;
            compacted_end += layout->size[i];
        }
        offsets[i] = (uint16_t)offset;
        if (components >> i & 1 && offset + layout->size[i] > end)
            end = offset + layout->size[i];
    }
    return end;
}
