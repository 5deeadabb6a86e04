/* EMBED(name, "path"): a file as it was at build time: the bytes at `name`, a NUL behind them at `name_end`. The path is relative to the
 * root of the repository. Declare both as `extern const char name[], name_end[];`. */
#ifndef VMR_COMMON_EMBED_H
#define VMR_COMMON_EMBED_H

#ifdef __ELF__
#define EMBED_SECTION ".section .rodata,\"a\"\n"
#else
#define EMBED_SECTION ".section .rdata,\"dr\"\n"     /* PE */
#endif

#define EMBED(name, path) \
    __asm__(EMBED_SECTION \
            ".globl " #name ", " #name "_end\n" \
            #name ":\n" \
            ".incbin \"" path "\"\n" \
            #name "_end:\n" \
            ".byte 0\n" \
            ".text\n")

#endif
