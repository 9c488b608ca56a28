/*
 * The SYSCALL shim: guest code for kvm-pvm hosts, mapped at the end of the guest's address space
 * and executed at CPL 3 (kvm-addon/src/emulator/syscall.h).
 *
 * KVM's LSTAR points to its start. After the guest's SYSCALL the state is correct except for the
 * privilege level: RCX holds the return address, R11 the flags, all other registers are unchanged.
 * The store goes to the next page, which has no memory, so KVM exits to the VMM, which enters the
 * guest's kernel. The shim changes no register.
 *
 * It is in .rodata because the host only copies it.
 */
        .section .rodata.tsvm_syscall_shim, "a", @progbits
        .balign 16

        .globl  tsvm_syscall_shim_start
        .globl  tsvm_syscall_shim_resume
        .globl  tsvm_syscall_shim_end

tsvm_syscall_shim_start:
.Lstart:
        movb    %al, .Lstart + 0x1000(%rip)
tsvm_syscall_shim_resume:
        /* Reached only if the VMM did not recognize the store as a SYSCALL. */
        ud2
tsvm_syscall_shim_end:

        .if     tsvm_syscall_shim_end - tsvm_syscall_shim_start > 4096
        .error  "the shim is longer than its page"
        .endif

        .section .note.GNU-stack, "", @progbits
