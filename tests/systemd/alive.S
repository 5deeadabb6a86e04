# A boot sector that lives: it says VM-ALIVE on the screen, then a dot on COM1 about once a second for ever.
    .code16
start:
    xor %ax, %ax
    mov %ax, %ds
    sti
    cld
    mov $(text - start + 0x7c00), %si
1:  lodsb
    test %al, %al
    jz 2f
    mov $0x0e, %ah
    mov $7, %bx
    int $0x10
    jmp 1b
2:  mov $18, %cx
3:  hlt                                   # 18.2 timer interrupts a second
    loop 3b
    mov $0x3f8, %dx
    mov $'.', %al
    out %al, %dx
    jmp 2b
text:
    .asciz "VM-ALIVE"
    .org 510
    .word 0xaa55
