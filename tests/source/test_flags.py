"""Arguments for libclang from arguments for gcc and clang."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockcheck.source.flags import APPENDED, clang_arguments


def cleaned(text: str, arch: str = "x86") -> list[str]:
    arguments = clang_arguments(shlex.split(text), arch)
    assert arguments[-len(APPENDED) :] == APPENDED
    return list(arguments[: -len(APPENDED)])


def test_gcc_command() -> None:
    text = (
        "gcc -Wp,-MMD,kernel/.fork.o.d -nostdinc -I./arch/x86/include/generated -I /s/include "
        "-include /s/include/linux/kconfig.h -D__KERNEL__ -fmacro-prefix-map=/s/= -Wall "
        "-Werror=implicit-int -std=gnu11 -fshort-wchar -fno-strict-aliasing -m64 -mno-sse "
        "-mpreferred-stack-boundary=3 -mskip-rax-setup -mindirect-branch=thunk-extern "
        "-mfunction-return=thunk-extern -falign-jumps=1 -O2 -fno-allow-store-data-races "
        "-fconserve-stack -fsanitize=kernel-address --param asan-globals=1 --param=x=1 -gdwarf-5 "
        "-fplugin=./scripts/x.so -fplugin-arg-x-y -DKBUILD_MODNAME='\"fork\"' -c "
        "-o kernel/fork.o /s/kernel/fork.c"
    )
    assert cleaned(text) == [
        "--target=x86_64-linux-gnu",
        "-nostdinc",
        "-I./arch/x86/include/generated",
        *("-I", "/s/include"),
        *("-include", "/s/include/linux/kconfig.h"),
        "-D__KERNEL__",
        "-std=gnu11",
        "-fshort-wchar",
        "-fno-strict-aliasing",
        "-m64",
        "-mno-sse",
        "-O2",
        '-DKBUILD_MODNAME="fork"',
    ]


def test_clang_command_keeps_its_own_target() -> None:
    text = (
        "ccache clang-19 --target=aarch64-linux-gnu -fintegrated-as -Werror=unknown-warning-option "
        "-Qunused-arguments -mllvm -x=1 -Xclang -y -mgeneral-regs-only -c -o a.o a.c"
    )
    assert cleaned(text) == ["--target=aarch64-linux-gnu", "-mgeneral-regs-only"]
    assert cleaned("clang -target x86_64-linux-gnu a.c") == ["-target", "x86_64-linux-gnu"]


def test_target_of_the_architecture() -> None:
    assert cleaned("gcc a.c", "arm64") == ["--target=aarch64-linux-gnu"]
    assert cleaned("gcc a.c", "newarch") == []


@pytest.mark.parametrize("flag", ["-MD", "-MMD", "-MF x.d", "-MT x", "-save-temps", "-o x.o", "-c"])
def test_nothing_is_written(flag: str) -> None:
    assert cleaned(f"gcc {flag} a.c") == ["--target=x86_64-linux-gnu"]


def test_option_without_its_value_is_dropped() -> None:
    assert cleaned("gcc a.c -I") == ["--target=x86_64-linux-gnu"]
    assert cleaned("gcc a.c -o") == ["--target=x86_64-linux-gnu"]


@given(st.lists(st.sampled_from(["-I", "x", "-Ix", "-DA=1", "-U", "-o", "-c", "-Wall", "-O2"])))
def test_cleaning_twice_changes_nothing(words: list[str]) -> None:
    once = clang_arguments(["gcc", *words])
    assert clang_arguments(["gcc", *once]) == once
