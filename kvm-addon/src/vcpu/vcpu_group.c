#include "vcpu_group.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vcpu.h"

bool vcpu_group_init(struct vcpu_group *group, struct vm *vm, struct vcpu_platform platform,
                     unsigned count, struct tsvm_exit_slot *slots, struct wake wake,
                     struct vm_error *failed)
{
    memset(group, 0, sizeof *group);
    group->vm = vm;
    group->emulator = platform.emulator;
    group->engine = platform.engine;
    group->slots = slots;
    group->wake = wake;
    group->order = VCPU_ORDER_PARK;
    group->paused = true;
    pthread_mutex_init(&group->lock, NULL);
    pthread_cond_init(&group->order_changed, NULL);
    vcpu_install_signal_handler();
    group->vcpus = calloc(count, sizeof *group->vcpus);
    if (!group->vcpus) {
        *failed = (struct vm_error){.call = "calloc", .error = -ENOMEM};
        vcpu_group_destroy(group);
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        if (!vcpu_init(&group->vcpus[i], group, i, failed)) {
            vcpu_group_destroy(group);
            return false;
        }
        group->count++;
    }
    return true;
}

int vcpu_group_start(struct vcpu_group *group)
{
    /* New threads park until the order to run, so that none runs if one cannot be created. */
    for (unsigned i = 0; i < group->count; i++) {
        struct vcpu *vcpu = &group->vcpus[i];
        int error = pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu);
        if (error != 0) {
            vcpu_group_order(group, VCPU_ORDER_STOP);
            for (unsigned j = 0; j < i; j++)
                pthread_join(group->vcpus[j].thread, NULL);
            return -error;
        }
    }
    group->started = true;
    vcpu_group_order(group, VCPU_ORDER_RUN);
    return 0;
}

/* Under the lock. */
static void give_order(struct vcpu_group *group, enum vcpu_order order)
{
    /* The order to stop is final. */
    if (group->order != VCPU_ORDER_STOP)
        __atomic_store_n(&group->order, order, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&group->order_changed);
    for (unsigned i = 0; i < group->count; i++) {
        struct vcpu *vcpu = &group->vcpus[i];
        if (order == VCPU_ORDER_STOP)
            pthread_cond_signal(&vcpu->slot_returned);
        if (order != VCPU_ORDER_RUN && vcpu->phase == VCPU_RUNNING)
            vcpu_interrupt(vcpu);
    }
}

void vcpu_group_apply(struct vcpu_group *group)
{
    give_order(group, group->paused || group->held ? VCPU_ORDER_PARK : VCPU_ORDER_RUN);
}

void vcpu_group_order(struct vcpu_group *group, enum vcpu_order order)
{
    pthread_mutex_lock(&group->lock);
    if (order == VCPU_ORDER_STOP) {
        give_order(group, order);
    } else {
        group->paused = order == VCPU_ORDER_PARK;
        vcpu_group_apply(group);
    }
    pthread_mutex_unlock(&group->lock);
}

bool vcpu_group_parked(struct vcpu_group *group)
{
    pthread_mutex_lock(&group->lock);
    bool parked = group->order != VCPU_ORDER_RUN;
    for (unsigned i = 0; i < group->count; i++)
        parked = parked && vcpu_is_parked(&group->vcpus[i]);
    pthread_mutex_unlock(&group->lock);
    return parked;
}

void vcpu_group_destroy(struct vcpu_group *group)
{
    if (group->started) {
        vcpu_group_order(group, VCPU_ORDER_STOP);
        for (unsigned i = 0; i < group->count; i++)
            pthread_join(group->vcpus[i].thread, NULL);
    }
    for (unsigned i = 0; i < group->count; i++)
        vcpu_destroy(&group->vcpus[i]);
    free(group->vcpus);
    group->vcpus = NULL;
    group->count = 0;
    pthread_cond_destroy(&group->order_changed);
    pthread_mutex_destroy(&group->lock);
}
