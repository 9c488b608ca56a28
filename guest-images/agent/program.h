// Finds a program as a shell does, and becomes it.
#pragma once

#include "process_spec.h"

// Adds HOME to the variables if it is missing or empty. Returns only with a failure.
int program_execute(const struct process_spec *spec, const char *home, struct failure *failure);
// The text of the errors that people know from other container tools; otherwise strerror().
const char *error_text(int number);
