/* The private region: its mappings with their rights, and its code. */
#include <errno.h>
#include <string.h>

#include "../../src/pvm/private_region.h"
#include "../../src/pvm/tables.h"
#include "../check.h"

#define GPA 0xd8000000ull
#define P 0x1ull
#define W 0x2ull
#define U 0x4ull
#define NX (1ull << 63)

static struct private_region region;

static const uint8_t *at_gpa(uint64_t gpa)
{
    return gpa - GPA < PRIVATE_REGION_SPAN ? region.memory + (gpa - GPA) : NULL;
}

/* The last entry on the way to `va` from a root. *rights gets the rights of the whole way. */
static uint64_t walk_to(uint64_t root, uint64_t va, uint64_t *rights)
{
    uint64_t table = root, entry = 0, denied = 0;

    *rights = P | W | U;
    for (unsigned shift = 39; shift >= 12; shift -= 9) {
        const uint64_t *entries = (const uint64_t *)at_gpa(table);
        if (!CHECK(entries != NULL))
            return 0;
        entry = entries[va >> shift & 511];
        *rights &= entry;
        denied |= entry & NX;
        if (!(entry & P))
            return 0;
        table = entry & 0xffffffffff000ull;
    }
    *rights |= denied;
    return table;
}

static bool maps(uint64_t va, uint64_t rights)
{
    uint64_t found, found_for_routines;
    uint64_t gpa = walk_to(private_region_root_gpa(&region, 7), va, &found);
    uint64_t same = walk_to(private_region_root_of_routines(&region), va, &found_for_routines);
    return gpa == GPA + ((va & ~0xfffull) - PRIVATE_VA) && same == gpa && found == rights &&
           found_for_routines == rights;
}

static void test_mappings(void)
{
    CHECK(maps(PRIVATE_SHIM_VA, P | U));
    CHECK(maps(PRIVATE_SHIM_VA + 0x1000, P | W | U | NX));
    CHECK(maps(PRIVATE_IDT_VA, P | W | NX));
    CHECK(maps(PRIVATE_GDT_VA, P | W | NX));
    CHECK(maps(private_region_routine(PRIVATE_TAKE), P));
    CHECK(maps(private_region_routine(PRIVATE_ZAP), P));
    CHECK(maps(private_region_tss(0), P | W | NX) && maps(private_region_tss(31), P | W | NX));
    /* Nothing else in the upper half, and nothing in the lower half. */
    const uint64_t *root = private_region_root(&region, 7);
    for (unsigned i = 0; i < 511; i++)
        CHECK(root[i] == 0);
    uint64_t rights;
    CHECK(walk_to(private_region_root_gpa(&region, 7), private_region_stack(31), &rights) == 0);
    CHECK(private_region_root_gpa(&region, PRIVATE_ROOTS - 1) + 4096 < GPA + PRIVATE_REGION_SPAN);
}

/* The OUT at the end of each routine, within its 16 bytes. */
static bool ends_with_out(uint64_t va, uint8_t port)
{
    const uint8_t *code = at_gpa(va - PRIVATE_VA + GPA);
    for (unsigned i = 0; i + 1 < 16; i++) {
        if (code[i] == 0xe6 && code[i + 1] == port)
            return true;
    }
    return false;
}

static void test_code(void)
{
    for (unsigned routine = PRIVATE_TAKE; routine < PRIVATE_ZAP; routine++)
        CHECK(ends_with_out(private_region_routine(routine), PRIVATE_DONE_PORT));
    CHECK(*at_gpa(private_region_routine(PRIVATE_HALT) - PRIVATE_VA + GPA) == 0xf4);
    CHECK(memcmp(at_gpa(private_region_routine(PRIVATE_STORE) - PRIVATE_VA + GPA), "\x89\x07\xe6",
                 3) == 0);
    const uint64_t *idt = (const uint64_t *)at_gpa(PRIVATE_IDT_VA - PRIVATE_VA + GPA);
    for (unsigned vector = 0; vector < 256; vector++) {
        uint64_t target = (idt[2 * vector] & 0xffff) | (idt[2 * vector] >> 32 & 0xffff0000) |
                          idt[2 * vector + 1] << 32;
        CHECK(private_region_stub_at(target) == (int)vector);
        CHECK(memcmp(at_gpa(target - PRIVATE_VA + GPA), "\xe6\xe0", 2) == 0);
        /* Only programs may use INT3 and INTO. */
        CHECK((idt[2 * vector] >> 45 & 3) == (vector == 3 || vector == 4 ? 3 : 0));
        CHECK(private_region_stub_at(target + 1) == -1);
    }
    CHECK(private_region_stub_at(private_region_routine(PRIVATE_TAKE)) == -1);
    CHECK(private_region_stub_at(0) == -1 && private_region_stub_at(UINT64_MAX) == -1);
}

static void test_tss(void)
{
    const uint8_t *tss = at_gpa(private_region_tss(31) - PRIVATE_VA + GPA);
    uint64_t rsp0;

    private_region_add_cpu(&region, 31);
    memcpy(&rsp0, tss + 4, sizeof rsp0);
    CHECK(rsp0 == private_region_stack(31));
    /* The map of ports is beyond the TSS. */
    CHECK((unsigned)(tss[0x66] | tss[0x67] << 8) > PRIVATE_TSS_LIMIT);
}

static void test_stack(void)
{
    uint64_t words[5] = {0};
    uint64_t top = private_region_stack(3);

    memcpy((void *)at_gpa(top - 16 - PRIVATE_VA + GPA), "abcdefghABCDEFGH", 16);
    CHECK(private_region_read_stack(&region, 3, top - 16, words, 2));
    CHECK(memcmp(words, "abcdefghABCDEFGH", 16) == 0);
    /* A guest may have stored any address there. */
    CHECK(!private_region_read_stack(&region, 3, top - 16, words, 3));
    CHECK(!private_region_read_stack(&region, 3, top, words, 1));
    CHECK(!private_region_read_stack(&region, 3, private_region_tss(3), words, 1));
    CHECK(!private_region_read_stack(&region, 3, private_region_stack(4) - 64, words, 1));
    CHECK(!private_region_read_stack(&region, 3, 0, words, 1));
    CHECK(!private_region_read_stack(&region, 3, UINT64_MAX - 7, words, 5));
    CHECK(!private_region_read_stack(&region, 3, 0x400000, words, 1));
}

static void test_zaps(void)
{
    uint64_t zaps[PRIVATE_ZAPS_MAX];
    uint64_t rights;

    for (unsigned i = 0; i < PRIVATE_ZAPS_MAX; i++)
        zaps[i] = 0x123456000ull + i * 0x1008 + (i % 2 ? ZAP_TABLE : 0);
    private_region_set_zaps(&region, zaps, PRIVATE_ZAPS_MAX);
    const uint8_t *code = at_gpa(private_region_routine(PRIVATE_ZAP) - PRIVATE_VA + GPA);
    for (unsigned i = 0; i < PRIVATE_ZAPS_MAX; i++, code += 10) {
        /* lock orq or lock orw, of 0, at an address in the window */
        CHECK(memcmp(code, i % 2 ? "\xf0\x66\x83\x0c\x25" : "\xf0\x48\x83\x0c\x25", 5) == 0);
        uint32_t va;
        memcpy(&va, code + 5, 4);
        CHECK(code[9] == 0);
        uint64_t page = walk_to(private_region_root_of_routines(&region), va, &rights);
        CHECK(page + (va & 0xfff) == (zaps[i] & ~7ull) && rights == (P | W | NX | (rights & U)));
    }
    CHECK(memcmp(code, "\xe6\xe2", 2) == 0);
    uint64_t va = private_region_map_device(&region, 31, 0xfee00300);
    CHECK(walk_to(private_region_root_of_routines(&region), va, &rights) == 0xfee00000);
    CHECK((va & 0xfff) == 0x300);
}

int main(void)
{
    CHECK(private_region_init(&region, GPA + 0x1000) == -EINVAL);
    CHECK(private_region_init(&region, GPA) == 0);
    private_region_root(&region, 7)[511] = private_region_root_entry(&region);
    test_mappings();
    test_code();
    test_tss();
    test_stack();
    test_zaps();
    private_region_destroy(&region);
    return check_finish();
}
