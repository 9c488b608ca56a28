/* The layout of the XSAVE area, according to this CPU's CPUID. */
#ifndef TSVM_EMULATOR_XSAVE_LAYOUT_H
#define TSVM_EMULATOR_XSAVE_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

/* Offsets in an XSAVE area, in bytes (Intel SDM volume 1, 13.4). */
#define EMU_XSAVE_MXCSR 24
#define EMU_XSAVE_MXCSR_MASK 28
#define EMU_XSAVE_X87_REGISTERS 32
#define EMU_XSAVE_XMM 160
#define EMU_XSAVE_XMM_LENGTH 256
#define EMU_XSAVE_XSTATE_BV 512
#define EMU_XSAVE_XCOMP_BV 520
#define EMU_XSAVE_HEADER_LENGTH 64
#define EMU_XSAVE_EXTENDED 576 /* end of the header */

#define EMU_XSTATE_X87 (1ull << 0)
#define EMU_XSTATE_SSE (1ull << 1)
#define EMU_XSTATE_AVX (1ull << 2)

/* Component numbers; 63 stands for the compacted format in XCOMP_BV. */
#define EMU_XSTATE_COMPONENTS 63
#define EMU_XCOMP_COMPACTED (1ull << 63)

struct emu_xsave_layout {
    uint64_t supported;  /* XCR0 bits whose component is within KVM's XSAVE area */
    uint64_t aligned;    /* components aligned to 64 bytes in the compacted format */
    uint32_t mxcsr_mask; /* bits that are not reserved in MXCSR */
    uint16_t offset[EMU_XSTATE_COMPONENTS]; /* in the standard format, bytes */
    uint16_t size[EMU_XSTATE_COMPONENTS];   /* bytes */
};

/* Reads CPUID leaf 0xd and the MXCSR mask. */
void emu_xsave_layout_read(struct emu_xsave_layout *layout);

/*
 * Offsets of the components above 1 in the standard format, or, if `xcomp_bv` is not 0, in the
 * compacted format that it describes. Returns the length of the area.
 */
size_t emu_xsave_offsets(const struct emu_xsave_layout *layout, uint64_t components,
                         uint64_t xcomp_bv, uint16_t offsets[EMU_XSTATE_COMPONENTS]);

#endif
