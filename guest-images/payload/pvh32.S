/*
 * A 32-bit kernel that is entered by PVH (Xen, docs/misc/pvh.pandoc). It says on COM1 whether its entry state
 * is right, then its command line; with PAGING, it turns on 32-bit paging and says so. Resets by the i8042.
 */
    .section .note.Xen, "a", @note
    .long 4, 4, 18
    .asciz "Xen"
    .long pvh_start

    .text
    .globl pvh_start
pvh_start:
    /* Neither stack nor any other register but EBX is set up. */
    cmpl $0x336ec578, (%ebx)
    jne bad
    movl %cr0, %eax
    andl $0x80000001, %eax
    cmpl $1, %eax
    jne bad
    movl %cr4, %eax
    testl %eax, %eax
    jnz bad
    movl $stack_top, %esp
    pushfl
    popl %eax
    testl $0x20200, %eax /* IF, VM */
    jnz bad
    movl $good, %esi
    call puts
    movl 24(%ebx), %esi /* cmdline_paddr */
    call puts
    movl $newline, %esi
    call puts
#ifdef PAGING
    movl $page_directory, %edi
    movl $0x83, %eax /* 4 MiB, writable, present */
    movl $1024, %ecx
1:  movl %eax, (%edi)
    addl $4, %edi
    addl $0x400000, %eax
    loop 1b
    movl $0x10, %eax /* PSE */
    movl %eax, %cr4
    movl $page_directory, %eax
    movl %eax, %cr3
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    movl $paging, %esi
    call puts
#endif
reset:
    movb $0xfe, %al
    outb %al, $0x64
1:  hlt
    jmp 1b

bad:
    movl $stack_top, %esp
    movl $wrong, %esi
    call puts
    jmp reset

puts:
    movl $0x3f8, %edx
1:  lodsb
    testb %al, %al
    jz 2f
    outb %al, %dx
    jmp 1b
2:  ret

good: .asciz "PVH: "
newline: .asciz "\n"
wrong: .asciz "bad\n"
paging: .asciz "paging\n"

    .bss
    .balign 4096
page_directory: .skip 4096
    .skip 4096
stack_top:
