/* What vCPUs stop for under a debugger, and what stays the guest's, without KVM. */
#include "../../src/vcpu/vcpu_debug.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "../../src/vcpu/vcpu.h"
#include "../../src/vcpu/vcpu_group.h"
#include "../check.h"

#define CPUS 2
#define VECTOR_DEBUG 1
#define VECTOR_BREAKPOINT 3
#define DR6_STEP 0x4000u
#define DR7_ENABLED 0x401u

static struct kvm_run run;
static struct tsvm_exit_slot slots[CPUS];
static struct vcpu vcpus[CPUS];
static struct vcpu_group group;
static unsigned wakes;

static void count_wake(void *context)
{
    (void)context;
    wakes++;
}

/* Two parked vCPUs that were released; ioctls on them fail with ENOTTY. */
static void set_up(void)
{
    group = (struct vcpu_group){
        .vcpus = vcpus,
        .count = CPUS,
        .slots = slots,
        .wake = {.notify = count_wake},
        .order = VCPU_ORDER_RUN,
        .debug = {.breakpoints = {0x1000, 0x2000, 0xffffffff81000000}, .breakpoint_count = 3},
    };
    pthread_mutex_init(&group.lock, NULL);
    pthread_cond_init(&group.order_changed, NULL);
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (unsigned i = 0; i < CPUS; i++) {
        slots[i] = (struct tsvm_exit_slot){0};
        vcpus[i] =
            (struct vcpu){.group = &group, .index = i, .fd = fd, .run = &run, .slot = &slots[i]};
    }
    wakes = 0;
}

static void tear_down(void)
{
    close(vcpus[0].fd);
    pthread_cond_destroy(&group.order_changed);
    pthread_mutex_destroy(&group.lock);
}

static int debug_exit(unsigned exception, uint64_t pc, uint64_t dr6)
{
    run.debug.arch = (struct kvm_debug_exit_arch){.exception = exception, .pc = pc, .dr6 = dr6};
    return vcpu_debug_exit(&vcpus[0]);
}

static void check_stop(uint32_t causes)
{
    CHECK(slots[0].state == TSVM_EXIT_PENDING && slots[0].kind == TSVM_EXIT_DEBUG);
    CHECK(slots[0].data_low == causes);
    CHECK(group.held && group.order == VCPU_ORDER_PARK && wakes == 1);
    tear_down();
    set_up();
}

/* The guest gets its exception: KVM is asked to inject it, which fails here. */
static void check_given_back(int result)
{
    CHECK(result == -ENOTTY);
    CHECK(slots[0].state == TSVM_EXIT_IDLE && !group.held && group.order == VCPU_ORDER_RUN);
}

static void test_exits(void)
{
    set_up();
    CHECK(debug_exit(VECTOR_BREAKPOINT, 0x2000, 0) == 0);
    check_stop(TSVM_DEBUG_BREAKPOINT);
    CHECK(debug_exit(VECTOR_BREAKPOINT, 0xffffffff81000000, 0) == 0);
    check_stop(TSVM_DEBUG_BREAKPOINT);
    check_given_back(debug_exit(VECTOR_BREAKPOINT, 0x2001, 0));

    /* The guest's own debug registers and single steps. */
    check_given_back(debug_exit(VECTOR_DEBUG, 0x2000, 0x1));
    check_given_back(debug_exit(VECTOR_DEBUG, 0x2000, DR6_STEP));
    group.debug.dr7 = DR7_ENABLED;
    CHECK(debug_exit(VECTOR_DEBUG, 0x2000, 0x5) == 0);
    check_stop(0x5);
    vcpus[0].debug_steps = true;
    CHECK(debug_exit(VECTOR_DEBUG, 0x2000, DR6_STEP) == 0);
    check_stop(TSVM_DEBUG_STEP);
    group.debug.dr7 = DR7_ENABLED;
    vcpus[0].debug_steps = true;
    CHECK(debug_exit(VECTOR_DEBUG, 0x2000, DR6_STEP | 2) == 0);
    check_stop(TSVM_DEBUG_STEP | 2);
    tear_down();
}

static void test_hold_and_pause(void)
{
    set_up();
    vcpu_debug_hold(&group);
    CHECK(group.order == VCPU_ORDER_PARK && vcpu_group_parked(&group));
    /* A resume does not end the hold. */
    vcpu_group_order(&group, VCPU_ORDER_PARK);
    vcpu_group_order(&group, VCPU_ORDER_RUN);
    CHECK(group.order == VCPU_ORDER_PARK);
    /* Nothing changes while a vCPU is within an instruction. */
    vcpus[1].phase = VCPU_WAITING;
    CHECK(vcpu_debug_release(&group, 3, 0) == -EBUSY);
    CHECK(vcpu_debug_set(&group, &(struct vcpu_debug){0}) == -EBUSY);
    CHECK(group.held && group.debug.breakpoint_count == 3);
    vcpus[1].phase = VCPU_PARKED;
    group.emulator = (struct emu_vm *)&run;
    CHECK(vcpu_debug_release(&group, 3, 0) == -EOPNOTSUPP);
    CHECK(vcpu_debug_set(&group, &(struct vcpu_debug){0}) == -EOPNOTSUPP);
    /* The order to stop is final. */
    vcpu_group_order(&group, VCPU_ORDER_STOP);
    vcpu_debug_hold(&group);
    CHECK(group.order == VCPU_ORDER_STOP);
    tear_down();
}

int main(void)
{
    test_exits();
    test_hold_and_pause();
    return check_finish();
}
