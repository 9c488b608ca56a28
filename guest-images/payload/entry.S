/*
 * From the loader's state to C at CPL 3 with IOPL 3, in as few instructions as possible: a KVM
 * without VT-x or AMD-V runs CPL 0 in an emulator and CPL 3 natively. So every table that can be
 * is complete in the image, and the rest (the IDT) is filled in by C.
 */
#include "layout.h"

#define CR0_PE 0x1
#define CR0_FOR_LONG_MODE 0x80010033 /* PG WP NE ET MP PE */
#define CR4_PAE 0x20
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100
#define RFLAGS_IOPL3 0x3002 /* and bit 1, which is always set; interrupts off */

/* XEN_ELFNOTE_PHYS32_ENTRY (18): the 32-bit entry of the PVH boot protocol. */
    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 8, 18
    .asciz "Xen"
    .quad pvh_start

    .section .tables.tss, "aw"
    .global task_state_segments
task_state_segments:
    .set cpu, 0
    .rept CPUS_MAX
    .long 0
    .if cpu == 0
    .quad boot_cpl0_stack + CPL0_STACK_SIZE
    .else
    .quad 0 /* smp.c fills it in */
    .endif
    .fill TSS_SIZE - 14, 1, 0
    .word IO_BITMAP_OFFSET - TSS_SIZE * cpu
    .set cpu, cpu + 1
    .endr
/* CPL 3 may access all ports. IOPL 3 would suffice, but kvm-pvm does not keep the IOPL. */
    .fill IO_BITMAP_SIZE - 1, 1, 0
    .byte 0xff

/*
 * User-accessible identity map of the low 4 GiB in large pages; accessed and dirty are preset,
 * which saves the MMU (or its emulation) the writes. paging.c adds what lies above.
 */
    .section .tables, "aw"
    .balign 4096
    .global page_map_level_4
page_map_level_4:
    .quad page_directory_pointers + 0x27
    .fill 511, 8, 0
    .global page_directory_pointers
page_directory_pointers:
    .set page, 0
    .rept 4
    .quad page_directories + 4096 * page + 0x27
    .set page, page + 1
    .endr
    .fill 508, 8, 0
page_directories:
    .set page, 0
    .rept 4 * 512
    .quad (page << 21) + 0xe7
    .set page, page + 1
    .endr

    .balign 16
global_descriptor_table:
    .quad 0
    .quad 0x00af9b000000ffff /* SELECTOR_CODE0 */
    .quad 0x00cf93000000ffff /* SELECTOR_DATA0 */
    .quad 0x00cff3000000ffff /* SELECTOR_DATA3 */
    .quad 0x00affb000000ffff /* SELECTOR_CODE3 */
    .quad 0x00cf9b000000ffff /* SELECTOR_CODE32 */
    .set tss, TSS_BASE
    .rept CPUS_MAX
    .word TSS_BASE + IO_BITMAP_OFFSET + IO_BITMAP_SIZE - 1 - tss, tss & 0xffff
    .byte (tss >> 16) & 0xff, 0x89, 0, tss >> 24
    .quad 0
    .set tss, tss + TSS_SIZE
    .endr
global_descriptor_table_end:

    .global gdt_pointer, idt_pointer
gdt_pointer:
    .word global_descriptor_table_end - global_descriptor_table - 1
    .quad global_descriptor_table
idt_pointer:
    .word 256 * 16 - 1
    .quad interrupt_descriptor_table

/* The number of the next application processor; the boot processor is 0. */
    .balign 4
    .global next_cpu
next_cpu:
    .long 1

    .text
    .code32
    .macro enter_long_mode target
    mov $page_map_level_4, %eax
    mov %eax, %cr3
    mov $CR4_PAE, %eax
    mov %eax, %cr4
    mov $MSR_EFER, %ecx
    mov $EFER_LME, %eax
    xor %edx, %edx
    wrmsr
    mov $CR0_FOR_LONG_MODE, %eax
    mov %eax, %cr0
    ljmp $SELECTOR_CODE0, $\target
    .endm

/* PVH: flat 32-bit protected mode, paging off, EBX = address of the hvm_start_info. */
pvh_start:
    lgdt gdt_pointer
    enter_long_mode pvh_long_mode

    .code64
pvh_long_mode:
    mov %ebx, %edi
    mov $BOOT_PROTOCOL_PVH, %esi
    jmp boot_cpu_start

/* The Linux 64-bit boot protocol: long mode, RSI = address of the boot_params. */
    .global linux64_start
linux64_start:
    cli
    mov $boot_cpl0_stack + CPL0_STACK_SIZE, %rsp
    mov $page_map_level_4, %eax
    mov %rax, %cr3
    mov $CR4_PAE, %eax
    mov %rax, %cr4
    lgdt gdt_pointer
    push $SELECTOR_CODE0
    push $linux64_own_segments
    lretq
linux64_own_segments:
    mov %rsi, %rdi
    mov $BOOT_PROTOCOL_LINUX64, %esi

boot_cpu_start:
    xor %ecx, %ecx
    mov $boot_cpl3_stack + CPL3_STACK_SIZE, %edx
    mov $payload_main, %eax

/* To CPL 3: ECX = number of this CPU, RDX = top of its stack, RAX = C function, RDI and RSI = its
 * arguments. */
enter_cpl3:
    mov $SELECTOR_DATA0, %ebx
    mov %ebx, %ss
    mov $SELECTOR_DATA3, %ebx
    mov %ebx, %ds
    mov %ebx, %es
    lidt idt_pointer
    mov %ecx, %ebx
    shl $4, %ebx
    add $SELECTOR_TSS, %ebx
    ltr %bx
    imul $TSS_SIZE, %ecx, %ecx
    mov task_state_segments + 4(%rcx), %rsp
    push $SELECTOR_DATA3
    sub $8, %rdx /* as after a call: the function expects its stack so */
    push %rdx
    push $RFLAGS_IOPL3
    push $SELECTOR_CODE3
    push %rax
    iretq

/*
 * Application processors. The part between ap_trampoline and ap_trampoline_end is copied to
 * TRAMPOLINE_BASE and starts there in real mode.
 */
    .code16
    .global ap_trampoline, ap_trampoline_end
ap_trampoline:
    cli
    mov %cs, %ax
    mov %ax, %ds
    lgdtl ap_gdt_pointer - ap_trampoline
    mov $CR0_PE, %eax
    mov %eax, %cr0
    ljmpl $SELECTOR_CODE32, $ap_protected_mode
    .balign 4
ap_gdt_pointer:
    .word global_descriptor_table_end - global_descriptor_table - 1
    .long global_descriptor_table
ap_trampoline_end:

    .code32
ap_protected_mode:
    mov $SELECTOR_DATA0, %eax
    mov %eax, %ds
    enter_long_mode ap_long_mode

    .code64
ap_long_mode:
    mov $1, %ecx
    lock xadd %ecx, next_cpu
    cmp $CPUS_MAX, %ecx
    jae ap_park
    mov %ecx, %edi
    mov ap_cpl3_stacks(, %rcx, 8), %rdx
    mov $ap_main, %eax
    jmp enter_cpl3
ap_park:
    cli
    hlt
    jmp ap_park

/*
 * void cpl0_call(cpl0_function *function, uint64_t argument): by the one way into CPL 0 that
 * kvm-pvm has, an exception. (There INT n is an invalid opcode, and SYSCALL does not change CPL.)
 */
    .global cpl0_call
cpl0_call:
    ud2
    ret

/* All other exceptions are fatal: report and end. */
    .balign EXCEPTION_STUB_SIZE
    .global exception_stubs
exception_stubs:
    .set vector, 0
    .rept EXCEPTION_COUNT
    .balign EXCEPTION_STUB_SIZE
    .if !((vector == 8) | ((vector >= 10) & (vector <= 14)) | (vector == 17) | (vector == 21) | (vector == 29) | (vector == 30))
    push $0 /* the CPU pushes no error code for this one */
    .endif
    push $vector
    jmp exception_common
    .set vector, vector + 1
    .endr
exception_common:
    cld
    cmpq $cpl0_call, 16(%rsp)
    je cpl0_call_serve
    cmpq $VECTOR_NMI, (%rsp)
    jne exception_take
    cmpb $0, attempt_under_way(%rip)
    jne exception_take
    add $16, %rsp
    iretq
exception_take:
    mov %rsp, %rdi
    mov %cr2, %rsi
    and $-16, %rsp
    call exception_report

cpl0_call_serve:
    add $16, %rsp /* vector and error code */
    addq $2, (%rsp) /* past the UD2 */
    mov %rdi, %rax
    mov %rsi, %rdi
    mov %rsp, %rsi
    sub $8, %rsp
    call *%rax
    add $8, %rsp
    iretq

/* Vector VECTOR_DEVICE: note the time, count and acknowledge. */
    .global device_interrupt_stub
device_interrupt_stub:
    push %rax
    push %rdx
    rdtsc
    mov %eax, device_interrupt_time
    mov %edx, device_interrupt_time + 4
    pop %rdx
    lock incl device_interrupt_count
    mov $LAPIC_BASE + LAPIC_EOI, %eax
    movl $0, (%rax)
    pop %rax
    iretq

    .bss
    .balign 16
boot_cpl0_stack:
    .skip CPL0_STACK_SIZE
boot_cpl3_stack:
    .skip CPL3_STACK_SIZE

    .section .note.GNU-stack, "", @progbits
