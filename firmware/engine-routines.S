/*
 * Guest code of the kernel-mode engine on kvm-pvm hosts, executed at CPL 0 by KVM's emulator with the
 * VMM's page tables, stack and IDT (kvm-addon/src/pvm/private_region.h).
 *
 * Each routine starts at a multiple of ROUTINE_LENGTH, in the order of enum private_routine, and ends
 * with an OUT, which ends KVM_RUN. Each IDT gate points to a separate stub, whose address tells the
 * VMM the vector; the stubs are contiguous.
 *
 * The code is in .rodata because the host only copies it.
 */
#define STUB_PORT 0xe0
#define DONE_PORT 0xe2
#define ROUTINE_LENGTH 16

        .section .rodata.tsvm_engine_routines, "a", @progbits

        .macro  routine instruction:vararg
        .balign ROUTINE_LENGTH
        \instruction
        outb    %al, $DONE_PORT
        .endm

        .balign ROUTINE_LENGTH
        .globl  tsvm_engine_routines_start
tsvm_engine_routines_start:
        routine                         /* PRIVATE_TAKE: an interrupt comes before the OUT */
        routine hlt                     /* PRIVATE_HALT */
        routine inb     %dx, %al        /* PRIVATE_IN8 and so on */
        routine inw     %dx, %ax
        routine inl     %dx, %eax
        routine outb    %al, %dx
        routine outw    %ax, %dx
        routine outl    %eax, %dx
        routine movl    (%rdi), %eax    /* PRIVATE_LOAD */
        routine movl    %eax, (%rdi)    /* PRIVATE_STORE */
        .balign ROUTINE_LENGTH
        .globl  tsvm_engine_routines_end
tsvm_engine_routines_end:

        .globl  tsvm_engine_stubs_start
tsvm_engine_stubs_start:
        .rept   256
        outb    %al, $STUB_PORT
        .endr
        .globl  tsvm_engine_stubs_end
tsvm_engine_stubs_end:

        .section .note.GNU-stack, "", @progbits
