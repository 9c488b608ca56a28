/* Ways into and out of an attempt; see attempt.h. */
#include "layout.h"

#define CR0_FOR_LONG_MODE 0x80010033
#define CR4_PAE 0x20
#define MSR_EFER 0xc0000080
#define EFER_LME_LMA 0x500
#define RFLAGS_NONE 0x2

    .text
    .macro save_context
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, attempt_stack(%rip)
    .endm

/* void attempt_call(attempt_function *function, uint64_t argument) */
    .global attempt_call
attempt_call:
    save_context
    mov %rdi, %rax
    mov %rsi, %rdi
    sub $8, %rsp
    call *%rax
    jmp attempt_return

/* void attempt_call_cpl3(uint64_t rip, uint64_t rsp, uint64_t rdi) */
    .global attempt_call_cpl3
attempt_call_cpl3:
    save_context
    push $SELECTOR_DATA3
    push %rsi
    push $RFLAGS_NONE
    push $SELECTOR_CODE3
    push %rdi
    mov %rdx, %rdi
    iretq

/* Both end here, by a return or by an exception. Relies only on the identity map. */
    .global attempt_return
attempt_return:
    cli
    cld
    mov $page_map_level_4, %eax
    mov %rax, %cr3
    mov $CR4_PAE, %eax
    mov %rax, %cr4
    mov $CR0_FOR_LONG_MODE, %eax
    mov %rax, %cr0
    mov $MSR_EFER, %ecx
    mov $EFER_LME_LMA, %eax
    xor %edx, %edx
    wrmsr
    lgdt gdt_pointer
    lidt idt_pointer
    mov attempt_stack, %rsp
    mov $SELECTOR_DATA0, %eax
    mov %eax, %ss
    mov $SELECTOR_DATA3, %eax
    mov %eax, %ds
    mov %eax, %es
    /* By IRET, which unblocks NMIs. */
    mov %rsp, %rax
    push $SELECTOR_DATA0
    push %rax
    push $RFLAGS_NONE
    push $SELECTOR_CODE0
    push $1f
    iretq
1:
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

    .bss
    .balign 8
attempt_stack:
    .skip 8

    .section .note.GNU-stack, "", @progbits
