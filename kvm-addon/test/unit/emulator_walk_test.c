#include "../check.h"
#include "emulator_fake.h"

#define P EMU_PTE_PRESENT
#define W EMU_PTE_WRITABLE
#define U EMU_PTE_USER
#define A EMU_PTE_ACCESSED
#define D EMU_PTE_DIRTY
#define PS EMU_PTE_LARGE
#define NX EMU_PTE_NO_EXECUTE

static struct emu_fake fake;
static struct emu_page page;

static struct emu_mmu kernel_mmu(void)
{
    return (struct emu_mmu){
        .memory = &fake.memory, .cr0 = EMU_CR0_WP, .cr3 = FAKE_PML4, .efer = EMU_EFER_NXE};
}

/* The walk's page-fault error code, or -1 when it does not end in a page fault. */
static int fault_of(const struct emu_mmu *mmu, uint64_t address, bool is_write)
{
    if (emu_walk(mmu, address, is_write, &page) != EMU_WALK_PAGE_FAULT)
        return -1;
    return (int)page.error_code;
}

static void test_small_page(void)
{
    struct emu_mmu mmu = kernel_mmu();
    fake_map(&fake, 3, 0x20000, P | W);
    CHECK(emu_walk(&mmu, FAKE_BASE + 0x3123, false, &page) == EMU_WALK_OK);
    CHECK(page.gpa == 0x20123);
    CHECK(page.hva == fake_ram(&fake, 0x20123));
    CHECK(*fake_entry(&fake, FAKE_TABLE, 3) == (0x20000 | P | W | A));
    CHECK(*fake_entry(&fake, FAKE_PML4, 0) & A);
    CHECK(*fake_entry(&fake, FAKE_PDPT, 1) & A);
    CHECK(*fake_entry(&fake, FAKE_DIRECTORY, 0) & A);
    CHECK(emu_walk(&mmu, FAKE_BASE + 0x3123, true, &page) == EMU_WALK_OK);
    CHECK(*fake_entry(&fake, FAKE_TABLE, 3) == (0x20000 | P | W | A | D));
    CHECK(!(*fake_entry(&fake, FAKE_DIRECTORY, 0) & D));
}

static void test_permissions(void)
{
    struct emu_mmu kernel = kernel_mmu(), user = kernel_mmu();
    user.is_user = true;
    fake_map(&fake, 4, 0x20000, 0);
    fake_map(&fake, 5, 0x20000, P);
    fake_map(&fake, 6, 0x20000, P | U);
    fake_map(&fake, 7, 0x20000, P | W | U);
    CHECK(fault_of(&kernel, FAKE_BASE + 0x4000, false) == 0);
    CHECK(fault_of(&kernel, FAKE_BASE + 0x4000, true) == EMU_PF_WRITE);
    CHECK(fault_of(&user, FAKE_BASE + 0x4000, false) == EMU_PF_USER);
    CHECK(fault_of(&kernel, FAKE_BASE + 0x5000, false) == -1);
    CHECK(fault_of(&kernel, FAKE_BASE + 0x5000, true) == (EMU_PF_PRESENT | EMU_PF_WRITE));
    CHECK(fault_of(&user, FAKE_BASE + 0x5000, false) == (EMU_PF_PRESENT | EMU_PF_USER));
    CHECK(fault_of(&user, FAKE_BASE + 0x6000, false) == -1);
    CHECK(fault_of(&user, FAKE_BASE + 0x6000, true) ==
          (EMU_PF_PRESENT | EMU_PF_WRITE | EMU_PF_USER));
    CHECK(fault_of(&user, FAKE_BASE + 0x7000, true) == -1);
    /* A refused write sets no dirty bit. */
    CHECK(!(*fake_entry(&fake, FAKE_TABLE, 5) & D));
    /* CR0.WP clear: the supervisor writes anywhere. */
    kernel.cr0 = 0;
    CHECK(fault_of(&kernel, FAKE_BASE + 0x5000, true) == -1);
    user.cr0 = 0;
    CHECK(fault_of(&user, FAKE_BASE + 0x6000, true) != -1);
    /* SMAP, and RFLAGS.AC that lifts it. */
    kernel.cr4 = EMU_CR4_SMAP;
    CHECK(fault_of(&kernel, FAKE_BASE + 0x7000, false) == EMU_PF_PRESENT);
    kernel.allow_access = true;
    CHECK(fault_of(&kernel, FAKE_BASE + 0x7000, false) == -1);
    /* An upper level can deny rights that the leaf grants. */
    *fake_entry(&fake, FAKE_DIRECTORY, 0) &= ~W;
    user = kernel_mmu();
    CHECK(fault_of(&user, FAKE_BASE + 0x7000, true) == (EMU_PF_PRESENT | EMU_PF_WRITE));
    *fake_entry(&fake, FAKE_DIRECTORY, 0) |= W;
}

static void test_large_pages(void)
{
    struct emu_mmu mmu = kernel_mmu();
    *fake_entry(&fake, FAKE_DIRECTORY, 1) = 0 | P | W | PS;
    CHECK(emu_walk(&mmu, FAKE_BASE + 0x245678, true, &page) == EMU_WALK_OK);
    CHECK(page.gpa == 0x45678);
    CHECK(*fake_entry(&fake, FAKE_DIRECTORY, 1) == (P | W | PS | A | D));
    *fake_entry(&fake, FAKE_DIRECTORY, 2) = 0x2000 | P | W | PS;
    CHECK(fault_of(&mmu, FAKE_BASE + 0x400000, false) == (EMU_PF_PRESENT | EMU_PF_RESERVED));
    *fake_entry(&fake, FAKE_PDPT, 2) = 0 | P | W | PS;
    CHECK(emu_walk(&mmu, 0x80012345, false, &page) == EMU_WALK_OK && page.gpa == 0x12345);
    *fake_entry(&fake, FAKE_PDPT, 3) = 0x200000 | P | W | PS;
    CHECK(fault_of(&mmu, 0xc0000000, false) == (EMU_PF_PRESENT | EMU_PF_RESERVED));
    *fake_entry(&fake, FAKE_PML4, 1) = 0 | P | W | PS;
    CHECK(fault_of(&mmu, 1ull << 39, false) == (EMU_PF_PRESENT | EMU_PF_RESERVED));
    *fake_entry(&fake, FAKE_PML4, 1) = 0;
}

static void test_no_execute(void)
{
    struct emu_mmu mmu = kernel_mmu();
    fake_map(&fake, 8, 0x20000, P | NX);
    CHECK(fault_of(&mmu, FAKE_BASE + 0x8000, false) == -1);
    mmu.efer = 0;
    CHECK(fault_of(&mmu, FAKE_BASE + 0x8000, false) == (EMU_PF_PRESENT | EMU_PF_RESERVED));
}

static void test_addresses(void)
{
    struct emu_mmu mmu = kernel_mmu();
    CHECK(emu_walk(&mmu, 0x0000800000000000ull, false, &page) == EMU_WALK_NON_CANONICAL);
    CHECK(emu_walk(&mmu, 0xffff7fffffffffffull, false, &page) == EMU_WALK_NON_CANONICAL);
    CHECK(fault_of(&mmu, 0xffff800000000000ull, false) == 0);
    CHECK(fault_of(&mmu, UINT64_MAX, false) == 0);
    /* Five levels: another table on top, and more canonical addresses. */
    *fake_entry(&fake, 0x5000, 0) = FAKE_PML4 | P | W;
    mmu.cr3 = 0x5000;
    mmu.cr4 = EMU_CR4_LA57;
    fake_map(&fake, 9, 0x20000, P | W);
    CHECK(emu_walk(&mmu, FAKE_BASE + 0x9001, false, &page) == EMU_WALK_OK);
    CHECK(page.gpa == 0x20001);
    CHECK(fault_of(&mmu, 0x0000800000000000ull, false) == 0);
    CHECK(emu_walk(&mmu, 0x0100000000000000ull, false, &page) == EMU_WALK_NON_CANONICAL);
}

static void test_not_ram(void)
{
    struct emu_mmu mmu = kernel_mmu();
    fake_map(&fake, 10, FAKE_MEMORY, P | W);
    CHECK(emu_walk(&mmu, FAKE_BASE + 0xa000, true, &page) == EMU_WALK_NOT_RAM);
    CHECK(page.gpa == FAKE_MEMORY);
    CHECK(!(*fake_entry(&fake, FAKE_TABLE, 10) & (A | D)));
    fake_map(&fake, 10, EMU_PTE_ADDRESS, P | W);
    CHECK(emu_walk(&mmu, FAKE_BASE + 0xa000, true, &page) == EMU_WALK_NOT_RAM);
    *fake_entry(&fake, FAKE_DIRECTORY, 3) = EMU_PTE_ADDRESS | P | W;
    CHECK(emu_walk(&mmu, FAKE_BASE + 0x600000, false, &page) == EMU_WALK_NOT_RAM);
    mmu.cr3 = UINT64_MAX;
    CHECK(emu_walk(&mmu, FAKE_BASE, false, &page) == EMU_WALK_NOT_RAM);
    /* A table that is its own entry only shortens the world. */
    mmu.cr3 = 0x6000;
    *fake_entry(&fake, 0x6000, 511) = 0x6000 | P | W;
    CHECK(emu_walk(&mmu, UINT64_MAX, false, &page) == EMU_WALK_OK && page.gpa == 0x6fff);
}

int main(void)
{
    if (!CHECK(fake_init(&fake)))
        return check_finish();
    test_small_page();
    test_permissions();
    test_large_pages();
    test_no_execute();
    test_addresses();
    test_not_ram();
    fake_free(&fake);
    return check_finish();
}
