#include "translator.h"

#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "reserve.h"

#define LINK_BYTES (TRANSLATED_LINKS * sizeof(struct translated_link))

static struct translator *create(void)
{
    struct translator *translator = calloc(1, sizeof *translator);

    if (!translator)
        return NULL;
    translator->links = reserve(LINK_BYTES);
    if (translator->links &&
        executable_map(&translator->code, "tsvm-translated", TRANSLATED_BYTES) == 0)
        return translator;
    release(translator->links, LINK_BYTES);
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
    release(translator->links, LINK_BYTES);
    free(translator);
    cpu->translator = NULL;
    cpu->translated = NULL;
}

uint64_t translator_resident(const struct cpu *cpu)
{
    const struct translator *translator = cpu->translator;

    if (!translator)
        return 0;
    return sizeof *translator + executable_resident(&translator->code) +
           reserve_resident(translator->links, LINK_BYTES);
}
