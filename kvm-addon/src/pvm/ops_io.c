/* IN, OUT, INS, OUTS. */
#include "access.h"
#include "devices.h"
#include "handlers.h"

#define TSS_LIMIT_MIN 0x67u
#define TSS_IO_MAP 0x66u

/* IOPL, else the I/O permission map of the TSS (SDM 1 19.5). */
static void check_port(struct cpu *cpu, struct insn *insn, uint16_t port, unsigned size)
{
    if (likely(cpu->cpl <= (cpu->rflags & RFLAGS_IOPL) / (RFLAGS_IOPL & -RFLAGS_IOPL)))
        return;
    const struct kvm_segment *tss = &cpu->sregs.tr;
    if (!tss->present || tss->limit < TSS_LIMIT_MIN)
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    uint32_t map = (uint32_t)access_system_load(cpu, insn, tss->base + TSS_IO_MAP, 2);
    uint32_t at = map + port / 8;
    if (at + 1 > tss->limit)
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
    uint32_t bits = (uint32_t)access_system_load(cpu, insn, tss->base + at, 2) >> port % 8;
    if (bits & ((1u << size) - 1))
        cpu_raise_error(cpu, insn, VECTOR_GP, 0);
}

/* The port: an immediate, or DX. */
#define PORT_IMMEDIATE ((uint8_t)insn->immediate)
#define PORT_DX REG(uint16_t, REG_RDX * 8)

#define PORT_HANDLERS(form, port_, type, suffix, bits)                                             \
    HANDLER(in_##form##bits)                                                                       \
    {                                                                                              \
        uint16_t port = port_;                                                                     \
        check_port(cpu, insn, port, sizeof(type));                                                 \
        SET_REG(type, REG_RAX * 8, port_read(cpu, insn, port, sizeof(type)));                      \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(out_##form##bits)                                                                      \
    {                                                                                              \
        uint16_t port = port_;                                                                     \
        check_port(cpu, insn, port, sizeof(type));                                                 \
        port_write(cpu, insn, port, sizeof(type), REG(type, REG_RAX * 8));                         \
        NEXT;                                                                                      \
    }
#define PORT_SIZES(form, port)                                                                     \
    PORT_HANDLERS(form, port, uint8_t, "b", 8)                                                     \
    PORT_HANDLERS(form, port, uint16_t, "w", 16)                                                   \
    PORT_HANDLERS(form, port, uint32_t, "l", 32)
PORT_SIZES(i, PORT_IMMEDIATE)
PORT_SIZES(d, PORT_DX)

/* With a 64-bit operand size too the data has 32 bits. */
#define PORT_ROW(name)                                                                             \
    {                                                                                              \
        name##8, name##16, name##32, name##32                                                      \
    }
insn_handler *const port_in[2][4] = {PORT_ROW(in_i), PORT_ROW(in_d)};
insn_handler *const port_out[2][4] = {PORT_ROW(out_i), PORT_ROW(out_d)};

/* ---- INS and OUTS: memory is checked before the device is read ---- */

#define STRING_STEP(type)                                                                          \
    (cpu->rflags & RFLAGS_DF ? (uint64_t) - (int64_t)sizeof(type) : sizeof(type))

#define PORT_STRING(mode, width, type, bits)                                                       \
    ALWAYS_INLINE void ins_element##bits##_##mode(struct cpu *cpu, struct insn *insn)              \
    {                                                                                              \
        uint64_t va = (width)cpu->r[REG_RDI];                                                      \
        access_host_page(cpu, insn, va, true);                                                     \
        access_host_page(cpu, insn, (width)(va + sizeof(type) - 1), true);                         \
        type value = (type)port_read(cpu, insn, PORT_DX, sizeof(type));                            \
        store##bits(cpu, insn, va, value);                                                         \
        cpu->r[REG_RDI] = (width)(va + STRING_STEP(type));                                         \
    }                                                                                              \
    ALWAYS_INLINE void outs_element##bits##_##mode(struct cpu *cpu, struct insn *insn)             \
    {                                                                                              \
        uint64_t va = (width)(cpu->r[REG_RSI] + cpu->segment_base[insn->scale >> 4]);              \
        type value = load##bits(cpu, insn, va);                                                    \
        port_write(cpu, insn, PORT_DX, sizeof(type), value);                                       \
        cpu->r[REG_RSI] = (width)(cpu->r[REG_RSI] + STRING_STEP(type));                            \
    }                                                                                              \
    PORT_STRING_HANDLERS(ins, mode, width, type, bits)                                             \
    PORT_STRING_HANDLERS(outs, mode, width, type, bits)
#define PORT_STRING_HANDLERS(name, mode, width, type, bits)                                        \
    HANDLER(name##bits##_##mode)                                                                   \
    {                                                                                              \
        check_port(cpu, insn, PORT_DX, sizeof(type));                                              \
        name##_element##bits##_##mode(cpu, insn);                                                  \
        NEXT;                                                                                      \
    }                                                                                              \
    HANDLER(rep_##name##bits##_##mode)                                                             \
    {                                                                                              \
        if ((width)cpu->r[REG_RCX] != 0)                                                           \
            check_port(cpu, insn, PORT_DX, sizeof(type));                                          \
        while ((width)cpu->r[REG_RCX] != 0) {                                                      \
            name##_element##bits##_##mode(cpu, insn);                                              \
            cpu->r[REG_RCX] = (width)(cpu->r[REG_RCX] - 1);                                        \
            if (MUST_LEAVE && (width)cpu->r[REG_RCX] != 0) {                                       \
                cpu->executed += insn->ordinal;                                                    \
                cpu->rip = RIP;                                                                    \
                return;                                                                            \
            }                                                                                      \
        }                                                                                          \
        NEXT;                                                                                      \
    }
#define PORT_STRINGS(mode, width)                                                                  \
    PORT_STRING(mode, width, uint8_t, 8)                                                           \
    PORT_STRING(mode, width, uint16_t, 16)                                                         \
    PORT_STRING(mode, width, uint32_t, 32)
PORT_STRINGS(wide, uint64_t)
PORT_STRINGS(narrow, uint32_t)

#define PORT_STRING_ROW(name, mode)                                                                \
    {                                                                                              \
        name##8_##mode, name##16_##mode, name##32_##mode, name##32_##mode                          \
    }
#define PORT_STRING_ROWS(mode)                                                                     \
    {                                                                                              \
        {PORT_STRING_ROW(ins, mode), PORT_STRING_ROW(rep_ins, mode)},                              \
        {                                                                                          \
            PORT_STRING_ROW(outs, mode), PORT_STRING_ROW(rep_outs, mode)                           \
        }                                                                                          \
    }
insn_handler *const port_string[2][2][2][4] = {PORT_STRING_ROWS(wide), PORT_STRING_ROWS(narrow)};
