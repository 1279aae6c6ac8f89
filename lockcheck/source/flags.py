"""From the arguments of a kernel compile command to arguments that libclang accepts.

An unknown argument is an error for libclang, and gcc has hundreds that clang does not
know. So this is a list of what is kept, not of what is dropped: options that decide what
the preprocessor and the parser see. Options that steer code generation, warnings, debug
information, sanitizers, plugins or dependency files mean nothing to an analysis.

IMPRECISE: an option that changes meaning and is missing here is dropped in silence. Both
measured kernel versions parse without an error with the table below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

# Options with a value, joined (`-Idir`) or as the next argument (`-I dir`). Order matters
# to the preprocessor, so they stay where they are.
KEPT_WITH_VALUE = ("-I", "-D", "-U")
KEPT_WITH_NEXT = (
    "-include",
    "-imacros",
    "-isystem",
    "-iquote",
    "-idirafter",
    "-isysroot",
    "-iprefix",
    "-target",
)
# Dropped together with the argument that follows them.
DROPPED_WITH_NEXT = (
    "-o",
    "-MF",
    "-MT",
    "-MQ",
    "-Xclang",
    "-Xassembler",
    "-Xpreprocessor",
    "-Xlinker",
    "-mllvm",
    "--param",
    "-arch",
    "-aux-info",
    "-dumpbase",
    "-dumpdir",
    "-x",
    "-B",
    "-T",
)
KEPT_EXACT = frozenset(
    {
        "-nostdinc",
        "-undef",
        "-trigraphs",
        "-ansi",
        # word size, byte order, register sets: they decide predefined macros and types
        "-m16",
        "-m32",
        "-m64",
        "-mx32",
        "-EB",
        "-EL",
        "-mbig-endian",
        "-mlittle-endian",
        "-mgeneral-regs-only",
        "-msoft-float",
        "-mno-80387",
        *(
            f"-m{no}{unit}"
            for no in ("", "no-")
            for unit in ("mmx", "sse", "sse2", "sse3", "ssse3", "sse4.1", "sse4.2", "avx", "avx2")
        ),
        # language
        "-fshort-wchar",
        "-fshort-enums",
        "-fno-short-enums",
        "-funsigned-char",
        "-fsigned-char",
        "-fno-signed-char",
        "-fno-unsigned-char",
        "-funsigned-bitfields",
        "-fms-extensions",
        "-fgnu89-inline",
        "-ffreestanding",
        "-fhosted",
        "-fno-builtin",
        "-fno-common",
        "-fcommon",
        "-fwrapv",
        "-fno-strict-overflow",
        "-fno-strict-aliasing",
        "-fno-delete-null-pointer-checks",
        "-fno-asm",
        "-fno-PIE",
        "-fno-pie",
        "-fno-pic",
        "-fPIC",
        "-fpic",
        "-fPIE",
        "-fpie",
        # they decide __OPTIMIZE__, which kernel headers test
        "-O",
        "-O0",
        "-O1",
        "-O2",
        "-O3",
        "-Og",
        "-Os",
        "-Oz",
    }
)
KEPT_PREFIX = (
    "-std=",
    "--std=",
    "-iquote",
    "-isystem",
    "-idirafter",
    "--sysroot=",
    "--target=",
    "-fno-builtin-",
    "-fpack-struct=",
    "-mcmodel=",
    "-mabi=",
    "-mregparm=",
)
# What LLVM=1 builds use, after the kernel's own scripts/Makefile.clang. Only needed for
# trees that are configured for gcc: its commands do not name the target.
TARGETS = {
    "arm": "arm-linux-gnueabi",
    "arm64": "aarch64-linux-gnu",
    "hexagon": "hexagon-linux-musl",
    "loongarch": "loongarch64-linux-gnusf",
    "m68k": "m68k-linux-gnu",
    "mips": "mipsel-linux-gnu",
    "powerpc": "powerpc64le-linux-gnu",
    "riscv": "riscv64-linux-gnu",
    "s390": "s390x-linux-gnu",
    "sparc": "sparc64-linux-gnu",
    "x86": "x86_64-linux-gnu",
}

# Our own: no warning matters to us, and no error may be swallowed by a limit.
APPENDED = ("-Wno-everything", "-ferror-limit=0", "-Qunused-arguments")


def clang_arguments(arguments: Sequence[str], arch: str = "x86") -> tuple[str, ...]:
    """Return what libclang should be given for a kernel compile command.

    arguments: the words of the command, compiler (or a wrapper and a compiler) first,
        source file included; both gcc's and clang's commands.
    arch: the directory below `arch/` the tree is configured for; it names the target
        when the command does not.

    The result holds neither compiler, source file, `-c` nor `-o`. Relative paths in it
    stay relative to the command's directory. Nothing in it makes clang write a file.
    """
    kept = tuple(_kept(arguments))
    named = any(a == "-target" or a.startswith("--target=") for a in kept)
    target = () if named or arch not in TARGETS else (f"--target={TARGETS[arch]}",)
    return (*target, *kept, *APPENDED)


def _kept(arguments: Sequence[str]) -> Iterator[str]:
    rest = iter(arguments)
    for argument in rest:
        if argument in KEPT_WITH_VALUE or argument in KEPT_WITH_NEXT:
            value = next(rest, None)
            if value is not None:
                yield from (argument, value)
        elif argument in DROPPED_WITH_NEXT:
            next(rest, None)
        elif argument in KEPT_EXACT or argument.startswith(KEPT_WITH_VALUE + KEPT_PREFIX):
            yield argument
