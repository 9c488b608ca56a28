#include "../check.h"
#include "pvm_fake.h"

#define P PVM_PTE_PRESENT
#define W PVM_PTE_WRITABLE
#define U PVM_PTE_USER
#define A PVM_PTE_ACCESSED
#define D PVM_PTE_DIRTY
#define PS PVM_PTE_LARGE
#define NX PVM_PTE_NO_EXECUTE

static struct pvm_fake fake;
static struct pvm_page page;

static struct pvm_mmu kernel_mmu(void)
{
    return (struct pvm_mmu){
        .memory = &fake.memory, .cr0 = PVM_CR0_WP, .cr3 = FAKE_PML4, .efer = PVM_EFER_NXE};
}

/* The walk's page-fault error code, or -1 when it does not end in a page fault. */
static int fault_of(const struct pvm_mmu *mmu, uint64_t address, bool is_write)
{
    if (pvm_walk(mmu, address, is_write, &page) != PVM_WALK_PAGE_FAULT)
        return -1;
    return (int)page.error_code;
}

static void test_small_page(void)
{
    struct pvm_mmu mmu = kernel_mmu();
    fake_map(&fake, 3, 0x20000, P | W);
    CHECK(pvm_walk(&mmu, FAKE_BASE + 0x3123, false, &page) == PVM_WALK_OK);
    CHECK(page.gpa == 0x20123);
    CHECK(page.hva == fake_ram(&fake, 0x20123));
    CHECK(*fake_entry(&fake, FAKE_TABLE, 3) == (0x20000 | P | W | A));
    CHECK(*fake_entry(&fake, FAKE_PML4, 0) & A);
    CHECK(*fake_entry(&fake, FAKE_PDPT, 1) & A);
    CHECK(*fake_entry(&fake, FAKE_DIRECTORY, 0) & A);
    CHECK(pvm_walk(&mmu, FAKE_BASE + 0x3123, true, &page) == PVM_WALK_OK);
    CHECK(*fake_entry(&fake, FAKE_TABLE, 3) == (0x20000 | P | W | A | D));
    CHECK(!(*fake_entry(&fake, FAKE_DIRECTORY, 0) & D));
}

static void test_permissions(void)
{
    struct pvm_mmu kernel = kernel_mmu(), user = kernel_mmu();
    user.is_user = true;
    fake_map(&fake, 4, 0x20000, 0);
    fake_map(&fake, 5, 0x20000, P);
    fake_map(&fake, 6, 0x20000, P | U);
    fake_map(&fake, 7, 0x20000, P | W | U);
    CHECK(fault_of(&kernel, FAKE_BASE + 0x4000, false) == 0);
    CHECK(fault_of(&kernel, FAKE_BASE + 0x4000, true) == PVM_PF_WRITE);
    CHECK(fault_of(&user, FAKE_BASE + 0x4000, false) == PVM_PF_USER);
    CHECK(fault_of(&kernel, FAKE_BASE + 0x5000, false) == -1);
    CHECK(fault_of(&kernel, FAKE_BASE + 0x5000, true) == (PVM_PF_PRESENT | PVM_PF_WRITE));
    CHECK(fault_of(&user, FAKE_BASE + 0x5000, false) == (PVM_PF_PRESENT | PVM_PF_USER));
    CHECK(fault_of(&user, FAKE_BASE + 0x6000, false) == -1);
    CHECK(fault_of(&user, FAKE_BASE + 0x6000, true) ==
          (PVM_PF_PRESENT | PVM_PF_WRITE | PVM_PF_USER));
    CHECK(fault_of(&user, FAKE_BASE + 0x7000, true) == -1);
    /* A write that is refused leaves no dirty bit behind. */
    CHECK(!(*fake_entry(&fake, FAKE_TABLE, 5) & D));
    /* CR0.WP clear: the supervisor writes anywhere. */
    kernel.cr0 = 0;
    CHECK(fault_of(&kernel, FAKE_BASE + 0x5000, true) == -1);
    user.cr0 = 0;
    CHECK(fault_of(&user, FAKE_BASE + 0x6000, true) != -1);
    /* SMAP, and RFLAGS.AC that lifts it. */
    kernel.cr4 = PVM_CR4_SMAP;
    CHECK(fault_of(&kernel, FAKE_BASE + 0x7000, false) == PVM_PF_PRESENT);
    kernel.allow_access = true;
    CHECK(fault_of(&kernel, FAKE_BASE + 0x7000, false) == -1);
    /* An upper level can take away what the leaf gives. */
    *fake_entry(&fake, FAKE_DIRECTORY, 0) &= ~W;
    user = kernel_mmu();
    CHECK(fault_of(&user, FAKE_BASE + 0x7000, true) == (PVM_PF_PRESENT | PVM_PF_WRITE));
    *fake_entry(&fake, FAKE_DIRECTORY, 0) |= W;
}

static void test_large_pages(void)
{
    struct pvm_mmu mmu = kernel_mmu();
    *fake_entry(&fake, FAKE_DIRECTORY, 1) = 0 | P | W | PS;
    CHECK(pvm_walk(&mmu, FAKE_BASE + 0x245678, true, &page) == PVM_WALK_OK);
    CHECK(page.gpa == 0x45678);
    CHECK(*fake_entry(&fake, FAKE_DIRECTORY, 1) == (P | W | PS | A | D));
    *fake_entry(&fake, FAKE_DIRECTORY, 2) = 0x2000 | P | W | PS;
    CHECK(fault_of(&mmu, FAKE_BASE + 0x400000, false) == (PVM_PF_PRESENT | PVM_PF_RESERVED));
    *fake_entry(&fake, FAKE_PDPT, 2) = 0 | P | W | PS;
    CHECK(pvm_walk(&mmu, 0x80012345, false, &page) == PVM_WALK_OK && page.gpa == 0x12345);
    *fake_entry(&fake, FAKE_PDPT, 3) = 0x200000 | P | W | PS;
    CHECK(fault_of(&mmu, 0xc0000000, false) == (PVM_PF_PRESENT | PVM_PF_RESERVED));
    *fake_entry(&fake, FAKE_PML4, 1) = 0 | P | W | PS;
    CHECK(fault_of(&mmu, 1ull << 39, false) == (PVM_PF_PRESENT | PVM_PF_RESERVED));
    *fake_entry(&fake, FAKE_PML4, 1) = 0;
}

static void test_no_execute(void)
{
    struct pvm_mmu mmu = kernel_mmu();
    fake_map(&fake, 8, 0x20000, P | NX);
    CHECK(fault_of(&mmu, FAKE_BASE + 0x8000, false) == -1);
    mmu.efer = 0;
    CHECK(fault_of(&mmu, FAKE_BASE + 0x8000, false) == (PVM_PF_PRESENT | PVM_PF_RESERVED));
}

static void test_addresses(void)
{
    struct pvm_mmu mmu = kernel_mmu();
    CHECK(pvm_walk(&mmu, 0x0000800000000000ull, false, &page) == PVM_WALK_NON_CANONICAL);
    CHECK(pvm_walk(&mmu, 0xffff7fffffffffffull, false, &page) == PVM_WALK_NON_CANONICAL);
    CHECK(fault_of(&mmu, 0xffff800000000000ull, false) == 0);
    CHECK(fault_of(&mmu, UINT64_MAX, false) == 0);
    /* Five levels: another table on top, and more canonical addresses. */
    *fake_entry(&fake, 0x5000, 0) = FAKE_PML4 | P | W;
    mmu.cr3 = 0x5000;
    mmu.cr4 = PVM_CR4_LA57;
    fake_map(&fake, 9, 0x20000, P | W);
    CHECK(pvm_walk(&mmu, FAKE_BASE + 0x9001, false, &page) == PVM_WALK_OK);
    CHECK(page.gpa == 0x20001);
    CHECK(fault_of(&mmu, 0x0000800000000000ull, false) == 0);
    CHECK(pvm_walk(&mmu, 0x0100000000000000ull, false, &page) == PVM_WALK_NON_CANONICAL);
}

static void test_not_ram(void)
{
    struct pvm_mmu mmu = kernel_mmu();
    fake_map(&fake, 10, FAKE_MEMORY, P | W);
    CHECK(pvm_walk(&mmu, FAKE_BASE + 0xa000, true, &page) == PVM_WALK_NOT_RAM);
    CHECK(page.gpa == FAKE_MEMORY);
    CHECK(!(*fake_entry(&fake, FAKE_TABLE, 10) & (A | D)));
    fake_map(&fake, 10, PVM_PTE_ADDRESS, P | W);
    CHECK(pvm_walk(&mmu, FAKE_BASE + 0xa000, true, &page) == PVM_WALK_NOT_RAM);
    *fake_entry(&fake, FAKE_DIRECTORY, 3) = PVM_PTE_ADDRESS | P | W;
    CHECK(pvm_walk(&mmu, FAKE_BASE + 0x600000, false, &page) == PVM_WALK_NOT_RAM);
    mmu.cr3 = UINT64_MAX;
    CHECK(pvm_walk(&mmu, FAKE_BASE, false, &page) == PVM_WALK_NOT_RAM);
    /* A table that is its own entry only shortens the world. */
    mmu.cr3 = 0x6000;
    *fake_entry(&fake, 0x6000, 511) = 0x6000 | P | W;
    CHECK(pvm_walk(&mmu, UINT64_MAX, false, &page) == PVM_WALK_OK && page.gpa == 0x6fff);
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
