/* The state between KVM and its two forms here, and what the host's processor has. */
#include "fpu_state.h"

#include <cpuid.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "counters.h"
#include "simd.h"

#define CPUID_1_ECX_XSAVE (1u << 26)
#define CPUID_1_ECX_OSXSAVE (1u << 27)
#define CPUID_XSAVE 0xd
#define CPUID_XSAVE_ECX_ALIGNED 2
#define XSAVE_FEATURES_KNOWN 0xfu
/* What a processor without the field has (SDM 1 11.6.6). */
#define MXCSR_MASK_DEFAULT 0xffbfu

struct fpu_host fpu_host;

static uint32_t read_mxcsr_mask(void)
{
    uint8_t area[512] __attribute__((aligned(16))) = {0};

    __asm__ volatile("fxsave64 %0" : "=m"(area));
    uint32_t mask = get_u32(area + XSAVE_MXCSR_MASK);
    return mask ? mask : MXCSR_MASK_DEFAULT;
}

static uint64_t read_xcr0(void)
{
    uint32_t eax, ebx, ecx, edx;

    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & CPUID_1_ECX_OSXSAVE))
        return XSTATE_BIT(X87) | XSTATE_BIT(SSE);
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return (uint64_t)edx << 32 | eax;
}

/* Size and offset of one component; false: the processor says nonsense. */
static bool read_component(unsigned component)
{
    uint32_t eax, ebx, ecx, edx;

    if (!__get_cpuid_count(CPUID_XSAVE, component, &eax, &ebx, &ecx, &edx) ||
        ebx < XSAVE_EXTENDED || eax > XSAVE_IMAGE_BYTES || ebx > XSAVE_IMAGE_BYTES - eax)
        return false;
    fpu_host.size[component] = (uint16_t)eax;
    fpu_host.offset[component] = (uint16_t)ebx;
    if (ecx & CPUID_XSAVE_ECX_ALIGNED)
        fpu_host.aligned |= 1ull << component;
    return true;
}

static void read_host(void)
{
    fpu_host.processor_xcr0 = read_xcr0();
    uint64_t xcr0 = fpu_host.processor_xcr0 & XSTATE_KNOWN;
    uint32_t eax, ebx, ecx, edx;

    for (unsigned i = XSTATE_AVX; i < XSTATE_COMPONENTS; i++) {
        if (xcr0 >> i & 1 && !read_component(i))
            xcr0 &= ~(1ull << i);
    }
    /* As XSETBV requires: all of AVX-512, and only with AVX. */
    if ((xcr0 & XSTATE_AVX512) != XSTATE_AVX512 || !(xcr0 & XSTATE_BIT(AVX)))
        xcr0 &= ~XSTATE_AVX512;
    fpu_host.xcr0 = xcr0;
    fpu_host.mxcsr_mask = read_mxcsr_mask();
    fpu_host.vector_bytes = xcr0 & XSTATE_AVX512 ? 64 : xcr0 & XSTATE_BIT(AVX) ? 32 : 16;
    if (__get_cpuid_count(CPUID_XSAVE, 1, &eax, &ebx, &ecx, &edx))
        fpu_host.xsave_features = eax & XSAVE_FEATURES_KNOWN;
    simd_table_init();
}

void fpu_host_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, read_host);
}

int fpu_init(struct cpu *cpu)
{
    fpu_host_init();
    struct cpu_fpu *fpu = aligned_alloc(64, (sizeof *fpu + 63) & ~(size_t)63);
    if (!fpu)
        return -ENOMEM;
    memset(fpu, 0, sizeof *fpu);
    fpu->xcr0 = XSTATE_BIT(X87);
    fpu->host_mxcsr = MXCSR_INITIAL;
    /* Without it (no executable memory) KVM executes these instructions. */
    fpu->arena = simd_arena_create();
    cpu->fpu = fpu;
    return 0;
}

void fpu_destroy(struct cpu *cpu)
{
    if (!cpu->fpu)
        return;
    simd_arena_destroy(cpu->fpu->arena);
    free(cpu->fpu);
    cpu->fpu = NULL;
}

void fpu_forget(struct cpu *cpu)
{
    struct cpu_fpu *fpu = cpu->fpu;
    struct kvm_xcrs xcrs;

    fpu->registers_valid = fpu->image_valid = fpu->dirty = false;
    if (!ioctl(cpu->fd, KVM_GET_XCRS, &xcrs) && xcrs.nr_xcrs)
        fpu->xcr0 = (xcrs.xcrs[0].value & fpu_host.xcr0) | XSTATE_BIT(X87);
}

/* The upper part of each of 16 registers, from or to where the image has them. */
static void copy_parts(struct cpu_fpu *fpu, unsigned component, unsigned first, unsigned at,
                       unsigned length, bool to_registers)
{
    if (!(fpu_host.xcr0 >> component & 1))
        return;
    for (unsigned i = 0; i < 16; i++) {
        uint8_t *part = fpu->vectors[first + i] + at;
        uint8_t *place = fpu->image + fpu_host.offset[component] + i * length;
        if (to_registers)
            memcpy(part, place, length);
        else
            memcpy(place, part, length);
    }
}

static void copy_vectors(struct cpu_fpu *fpu, bool to_registers)
{
    for (unsigned i = 0; i < 16; i++) {
        uint8_t *place = fpu->image + XSAVE_XMM + i * 16;
        if (to_registers)
            memcpy(fpu->vectors[i], place, 16);
        else
            memcpy(place, fpu->vectors[i], 16);
    }
    copy_parts(fpu, XSTATE_AVX, 0, 16, 16, to_registers);
    copy_parts(fpu, XSTATE_ZMM_HIGH_256, 0, 32, 32, to_registers);
    copy_parts(fpu, XSTATE_HIGH_16_ZMM, 16, 0, 64, to_registers);
}

static void image_to_registers(struct cpu_fpu *fpu)
{
    const uint8_t *image = fpu->image;

    memcpy(fpu->x87, image, XSAVE_XMM);
    fpu->mxcsr = get_u32(image + XSAVE_MXCSR);
    /* FXRSTOR of the stubs loads it too. */
    put_u32(fpu->x87 + XSAVE_MXCSR, MXCSR_INITIAL);
    copy_vectors(fpu, true);
    if (fpu_host.xcr0 & XSTATE_BIT(OPMASK))
        memcpy(fpu->opmasks, image + fpu_host.offset[XSTATE_OPMASK], sizeof fpu->opmasks);
    fpu->registers_valid = true;
}

static void registers_to_image(struct cpu_fpu *fpu)
{
    uint8_t *image = fpu->image;

    memcpy(image, fpu->x87, XSAVE_MXCSR);
    memcpy(image + XSAVE_ST, fpu->x87 + XSAVE_ST, XSAVE_XMM - XSAVE_ST);
    put_u32(image + XSAVE_MXCSR, fpu->mxcsr);
    copy_vectors(fpu, false);
    if (fpu_host.xcr0 & XSTATE_BIT(OPMASK))
        memcpy(image + fpu_host.offset[XSTATE_OPMASK], fpu->opmasks, sizeof fpu->opmasks);
    fpu->image_valid = true;
}

static void fetch(struct cpu *cpu)
{
    struct cpu_fpu *fpu = cpu->fpu;

    /* It cannot fail for a vCPU that exists; the state would be that of the last fetch. */
    if (ioctl(cpu->fd, KVM_GET_XSAVE, fpu->image))
        cpu->counters->fpu_failures++;
    fpu->image_valid = true;
    fpu->dirty = false;
}

void fpu_load_image(struct cpu *cpu)
{
    struct cpu_fpu *fpu = cpu->fpu;

    if (fpu->image_valid)
        return;
    if (fpu->registers_valid)
        registers_to_image(fpu);
    else
        fetch(cpu);
}

void fpu_load_registers(struct cpu *cpu)
{
    struct cpu_fpu *fpu = cpu->fpu;

    if (fpu->registers_valid)
        return;
    if (!fpu->image_valid)
        fetch(cpu);
    image_to_registers(fpu);
}

void fpu_own_image(struct cpu *cpu)
{
    fpu_load_image(cpu);
    cpu->fpu->registers_valid = false;
    cpu->fpu->dirty = true;
}

void fpu_own_registers(struct cpu *cpu)
{
    fpu_load_registers(cpu);
    cpu->fpu->image_valid = false;
    cpu->fpu->dirty = true;
}

void fpu_release(struct cpu *cpu)
{
    struct cpu_fpu *fpu = cpu->fpu;

    if (fpu->dirty) {
        fpu_load_image(cpu);
        /* KVM takes MXCSR out of an image only together with a component that owns it. */
        uint64_t in_use = fpu_in_use(fpu) | XSTATE_BIT(SSE);
        memset(fpu->image + XSAVE_HEADER, 0, XSAVE_EXTENDED - XSAVE_HEADER);
        put_u64(fpu->image + XSAVE_XSTATE_BV, in_use);
        if (ioctl(cpu->fd, KVM_SET_XSAVE, fpu->image))
            cpu->counters->fpu_failures++;
    }
    fpu->registers_valid = fpu->image_valid = fpu->dirty = false;
}

uint64_t fpu_supported_xcr0(void)
{
    fpu_host_init();
    return fpu_host.xcr0;
}

/* Bytes of an XSAVE area with `components`. */
static uint32_t standard_size(uint64_t components)
{
    uint32_t size = XSAVE_EXTENDED;

    for (unsigned i = XSTATE_AVX; i < XSTATE_COMPONENTS; i++) {
        uint32_t end = (uint32_t)fpu_host.offset[i] + fpu_host.size[i];
        if (components >> i & 1 && end > size)
            size = end;
    }
    return size;
}

static uint32_t compacted_size(uint64_t components)
{
    uint16_t offsets[XSTATE_COMPONENTS];

    return fpu_compacted_offsets(components, offsets);
}

void fpu_cpuid_xsave(const struct cpu *cpu, uint32_t subleaf, uint32_t registers[4])
{
    fpu_host_init();
    memset(registers, 0, 4 * sizeof *registers);
    if (subleaf == 0) {
        registers[0] = (uint32_t)fpu_host.xcr0;
        registers[1] = standard_size(cpu->fpu->xcr0);
        registers[2] = standard_size(fpu_host.xcr0);
        registers[3] = (uint32_t)(fpu_host.xcr0 >> 32);
    } else if (subleaf == 1) {
        registers[0] = fpu_host.xsave_features;
        if (fpu_host.xsave_features & XSAVE_FEATURE_XSAVEC)
            registers[1] = compacted_size(cpu->fpu->xcr0);
    } else if (subleaf < XSTATE_COMPONENTS && fpu_host.xcr0 >> subleaf & 1) {
        registers[0] = fpu_host.size[subleaf];
        registers[1] = fpu_host.offset[subleaf];
        registers[2] = fpu_host.aligned >> subleaf & 1 ? CPUID_XSAVE_ECX_ALIGNED : 0;
    }
}
