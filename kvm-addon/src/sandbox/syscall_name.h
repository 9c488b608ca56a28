#ifndef TSVM_SYSCALL_NAME_H
#define TSVM_SYSCALL_NAME_H

/* The name of a system call; NULL for a number that the kernel's headers did not have. */
const char *syscall_name(int number);

#endif
