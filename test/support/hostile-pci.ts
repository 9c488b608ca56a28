/** The vectors of `test/vectors/hostile_pci.h`, which the payload uses under KVM. */
import { runC } from './compiled-c.ts';

interface HostilePci {
  /** Where a driver puts a BAR. */
  readonly places: readonly { readonly name: string; readonly gpa: number }[];
  /** The four words of an entry of the MSI-X table. */
  readonly entries: readonly { readonly name: string; readonly words: readonly number[] }[];
}

const PROGRAM = `
#include <stdio.h>
#include "../test/vectors/hostile_pci.h"

int main(void)
{
    printf("{\\"places\\":[");
    for (unsigned i = 0; i < HOSTILE_PLACE_COUNT; i++)
        printf("%s{\\"name\\":\\"%s\\",\\"gpa\\":%u}", i == 0 ? "" : ",", hostile_places[i].name,
               hostile_places[i].gpa);
    printf("],\\"entries\\":[");
    for (unsigned i = 0; i < HOSTILE_MSIX_ENTRY_COUNT; i++) {
        const struct hostile_msix_entry *entry = &hostile_msix_entries[i];
        printf("%s{\\"name\\":\\"%s\\",\\"words\\":[%u,%u,%u,%u]}", i == 0 ? "" : ",", entry->name,
               entry->address_low, entry->address_high, entry->data, entry->control);
    }
    printf("]}");
    return 0;
}
`;

export function hostilePci(): HostilePci {
  return JSON.parse(runC(PROGRAM).toString()) as HostilePci;
}
