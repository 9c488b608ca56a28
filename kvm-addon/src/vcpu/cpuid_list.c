#include "cpuid_list.h"

#include "vcpu_state.h"

static void *thread_main(void *context)
{
    struct cpuid_list *list = context;
    list->count = vcpu_supported_cpuid(list->vcpu, list->entries);
    return NULL;
}

void cpuid_list_begin(struct cpuid_list *list, const struct vcpu *vcpu)
{
    list->vcpu = vcpu;
    list->runs = pthread_create(&list->thread, NULL, thread_main, list) == 0;
    if (!list->runs)
        thread_main(list);
}

void cpuid_list_wait(struct cpuid_list *list)
{
    if (!list->runs)
        return;
    pthread_join(list->thread, NULL);
    list->runs = false;
}
