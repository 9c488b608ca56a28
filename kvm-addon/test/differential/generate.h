/* Random programs of a few instructions. */
#ifndef TSVM_TEST_GENERATE_H
#define TSVM_TEST_GENERATE_H

#include "program.h"

void program_generate(struct program *program, bool compat);

#endif
