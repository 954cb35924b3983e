# Ring 0: everything that runs at privilege level 0. It enters long mode if needed, loads constant
# tables, drops to ring 3 and from then on only idles the CPU, notes interrupts and reports faults.
# All tables are assembled, none is built at run time: on a host that emulates ring 0, each of these
# instructions costs about 0.6 us. Accessed, dirty and busy bits are set ahead, so that the CPU has
# nothing to write to them after a restore.

.set CODE0, 0x08
.set DATA0, 0x10
.set CODE3, 0x1b
.set DATA3, 0x23
.set TSS_SELECTOR, 0x28

.set CR0_RUN, 0x80010033                # PG WP NE ET MP PE
.set CR4_RUN, 0x620                     # PAE OSFXSR OSXMMEXCPT
.set EFER, 0xc0000080
.set EFER_LME, 0x100
.set EOI, 0xfee000b0                    # xAPIC end-of-interrupt register

.set DATA_AT, 0x100040                  # link.ld asserts both
.set TEXT_AT, 0x101000

# ---------------------------------------------------------------------------------------------- code
.section .ring0.text, "ax"
ring0_text:
.globl ring0_text

# Linux 64-bit boot protocol: long mode, identity mapped, rsi = boot_params.
.globl linux_entry
linux_entry:
    rdtsc
    shl rdx, 32
    or rdx, rax
    xor edi, edi
    mov eax, CR4_RUN
    mov cr4, rax
    mov eax, offset pml4
    mov cr3, rax
    mov eax, CR0_RUN
    mov cr0, rax
    lgdt [rip + gdt_pointer]
long_mode:
    lidt [rip + idt_pointer]
    mov eax, TSS_SELECTOR
    ltr ax
    lea rsp, [rip + start_frame]
    iretq                               # start(edi = entry, rsi = boot information, rdx = TSC)

# PVH: 32-bit protected mode, paging off, ebx = hvm_start_info.
.code32
pvh_entry:
    mov esi, ebx
    mov eax, CR4_RUN
    mov cr4, eax
    mov eax, offset pml4
    mov cr3, eax
    mov ecx, EFER
    xor edx, edx
    mov eax, EFER_LME
    wrmsr
    mov eax, CR0_RUN
    mov cr0, eax
    lgdt [gdt_pointer]
    .byte 0xea                          # jmp CODE0:pvh_long
    .long pvh_long
    .word CODE0
.code64
pvh_long:
    rdtsc
    shl rdx, 32
    or rdx, rax
    mov edi, 1
    jmp long_mode

# `hlt` in ring 3 raises #GP, and that is how the application sleeps. Ring 3 runs with interrupts off,
# so what arrived since it looked is still pending and ends this `hlt` at once: `sti` takes effect only
# after the instruction that follows it.
.globl on_general_protection
on_general_protection:
    cmp qword ptr [rsp + 8], offset idle_hlt
    jne on_general_protection_fault
    sti
    hlt
    add rsp, 8                          # the error code
    inc qword ptr [rsp]                 # past the one-byte `hlt`
    iretq

.macro interrupt name, flag
\name:
    mov byte ptr [rip + {pending} + \flag], 1
    .byte 0x67, 0xc7, 0x04, 0x25        # mov dword ptr [EOI], 0 with a 32-bit address
    .long EOI
    .long 0
    iretq
.endm
interrupt on_net, 0
interrupt on_timer, 1
interrupt on_generation, 2

on_spurious:
    iretq

# Every other exception is a bug: hand its numbers to ring 3, which prints them and stops the VM.
.macro exception vector, has_code
exception_\vector:
    .if \has_code == 0
    push 0
    .endif
    push \vector
    jmp on_fault
.endm
.irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 9, 15, 16, 18, 19, 20, 22, 23, 24, 25, 26, 27, 28, 31
    exception \vector, 0
.endr
.irp vector, 8, 10, 11, 12, 14, 17, 21, 29, 30
    exception \vector, 1
.endr
on_general_protection_fault:
    push 13
on_fault:
    mov rdi, [rsp]                      # vector
    mov rsi, [rsp + 8]                  # error code
    mov rdx, [rsp + 16]                 # rip
    mov rcx, cr2
    lea rsp, [rip + fault_frame]
    iretq

# ---------------------------------------------------------------------------------------------- note
.section .note.pvh, "a", @note
.balign 4
    .long 4, 4, 18                      # name and descriptor sizes, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_entry

# ------------------------------------------------------------------------------------------ hot data
.section .ring0.data, "aw"
ring0_data:
.globl ring0_data

.macro gate handler
    .word (TEXT_AT + (\handler - ring0_text)) & 0xffff
    .word CODE0
    .byte 0, 0x8e                       # 64-bit interrupt gate, DPL 0
    .word TEXT_AT >> 16
    .long 0, 0
.endm
.globl idt
idt:
.irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
    gate exception_\vector
.endr
    gate on_general_protection
.irp vector, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    gate exception_\vector
.endr
    gate on_net                         # 32
    gate on_timer                       # 33
    gate on_generation                  # 34
    gate on_spurious                    # 35
idt_end:

.balign 16
ring0_stack:
    .fill 192, 1, 0                     # two interrupt frames and room to spare
ring0_stack_top:

gdt:
    .quad 0
    .quad 0x00af9b000000ffff            # 0x08 ring-0 code, 64 bit
    .quad 0x00cf93000000ffff            # 0x10 ring-0 data
    .quad 0x00affb000000ffff            # 0x18 ring-3 code, 64 bit
    .quad 0x00cff3000000ffff            # 0x20 ring-3 data
    .word tss_end - tss - 1             # 0x28 task state
    .word (DATA_AT + (tss - ring0_data)) & 0xffff
    .byte DATA_AT >> 16, 0x89, 0, 0
    .quad 0
gdt_end:

gdt_pointer:
    .word gdt_end - gdt - 1
    .quad gdt
idt_pointer:
    .word idt_end - idt - 1
    .quad idt

# Ring 3 may use every port below 0x400; the map ends there.
tss:
    .long 0
    .quad ring0_stack_top
    .fill 0x66 - 12, 1, 0
    .word 0x68                          # offset of the I/O permission map
    .fill 0x400 / 8, 1, 0
    .byte 0xff
tss_end:

# -------------------------------------------------------------------------------------------- tables
.section .ring0.tables, "aw"
start_frame:
    .quad {start}, CODE3, 2, {stack} + {stack_len} - 8, DATA3
fault_frame:
    .quad {fault}, CODE3, 2, {stack} + {stack_len} - 8, DATA3

# Identity map of the first 4 GiB in 2 MiB pages, open to ring 3; uncached from 3 GiB on (devices).
.balign 4096
pml4:
    .quad pdpt + 0x27                   # A US RW P
    .fill 511, 8, 0
pdpt:
    .quad pd + 0x27, pd + 0x1027, pd + 0x2027, pd + 0x3027
    .fill 508, 8, 0
pd:
.set page, 0
.rept 1536
    .quad page + 0xe7                   # PS D A US RW P
    .set page, page + 0x200000
.endr
.rept 512
    .quad page + 0xff                   # and PCD PWT
    .set page, page + 0x200000
.endr

# --------------------------------------------------------------------------------------------- sleep
# Ring 3's side of sleeping: returns after an interrupt, or at once if one is pending.
.section .text.idle, "ax"
.globl idle
idle:
idle_hlt:
    hlt
    ret

.text
