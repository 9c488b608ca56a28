#include "syscall_name.h"

#include <stddef.h>

/* CMakeLists.txt makes the list from the kernel's headers: [number] = "name". */
static const char *const NAMES[] = {
#include "syscall_names.inc"
};

const char *syscall_name(int number)
{
    return number >= 0 && (size_t)number < sizeof NAMES / sizeof *NAMES ? NAMES[number] : NULL;
}
