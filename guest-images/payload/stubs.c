#include "test.h"
const struct test_suite test_suite_smp, test_suite_blk_limits, test_suite_bad_rings, test_suite_bad_registers;
void *ap_cpl3_stacks[32]; void ap_main(void){}
