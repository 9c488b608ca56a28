#include "translator.h"

#include <stdlib.h>
#include <string.h>

#include "engine.h"

#define LINK_BYTES (TRANSLATED_LINKS * sizeof(struct translated_link))
_Static_assert(LINK_BYTES % PAGE_SIZE == 0, "whole pages");

static void init_pools(struct translator *translator)
{
    translator->pools[false] = (struct translated_pool){
        .start = TRANSLATED_COMMON_BYTES,
        .used = TRANSLATED_COMMON_BYTES,
        .end = TRANSLATED_KERNEL_BYTES,
        .link_end = TRANSLATED_KERNEL_LINKS,
    };
    translator->pools[true] = (struct translated_pool){
        .start = TRANSLATED_KERNEL_BYTES,
        .used = TRANSLATED_KERNEL_BYTES,
        .end = TRANSLATED_BYTES,
        .first_link = TRANSLATED_KERNEL_LINKS,
        .next_link = TRANSLATED_KERNEL_LINKS,
        .link_end = TRANSLATED_LINKS,
    };
}

static struct translator *create(void)
{
    struct translator *translator = calloc(1, sizeof *translator);

    if (!translator)
        return NULL;
    if (executable_map(&translator->code, "tsvm-translated", TRANSLATED_BYTES, LINK_BYTES) == 0) {
        translator->links = (struct translated_link *)translator->code.data;
        init_pools(translator);
        return translator;
    }
    free(translator);
    return NULL;
}

void translator_init(struct cpu *cpu)
{
    uint8_t threshold = cpu->engine->translate_after;

    memset(cpu->heat, threshold, sizeof cpu->heat);
    if (threshold == 0)
        return;
    cpu->translator = create();
    if (cpu->translator)
        cpu->translated = cpu->translator->code.executable;
}

void translator_destroy(struct cpu *cpu)
{
    struct translator *translator = cpu->translator;

    if (!translator)
        return;
    executable_unmap(&translator->code);
    free(translator);
    cpu->translator = NULL;
    cpu->translated = NULL;
}

void translator_discard(struct cpu *cpu)
{
    struct translator *translator = cpu->translator;

    if (!translator)
        return;
    executable_discard(&translator->code);
    translator->has_common = false;
    init_pools(translator);
}

uint64_t translator_resident(const struct cpu *cpu)
{
    const struct translator *translator = cpu->translator;

    if (!translator)
        return 0;
    return sizeof *translator + executable_resident(&translator->code);
}
