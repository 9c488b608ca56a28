/*
 * The /init of a kernel whose boot is measured: its first instructions make it known by a bell. One
 * byte, because the next would wait for an interrupt of the serial port, which not every VMM has.
 */
.globl _start
_start:
    mov $1, %eax                /* write(STDOUT_FILENO, &bell, 1) */
    mov $1, %edi
    lea bell(%rip), %rsi
    mov $1, %edx
    syscall
    mov $34, %eax               /* pause() */
    syscall
    jmp .

bell:
    .ascii "\007"

.section .note.GNU-stack, "", @progbits
