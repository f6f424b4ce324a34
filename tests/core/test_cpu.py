"""What the processor is said to do follows the processor and the variables that limit it."""

import os
import subprocess
import sys

import pytest
import torch

from moodlens.core import cpu


@pytest.fixture(autouse=True)
def asked_anew():
    questions = (cpu.capability, cpu.packs_bfloat16, cpu.has_fast_bfloat16)
    for question in questions:
        question.cache_clear()
    yield
    for question in questions:
        question.cache_clear()


@pytest.fixture
def zen4(monkeypatch):
    """A processor that multiplies bfloat16, whatever the tests run on."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(cpu, "capability", lambda: "avx512")
    monkeypatch.setattr(cpu, "packs_bfloat16", lambda: True)
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)


def test_native_bfloat16_is_fast(zen4):
    assert cpu.has_fast_bfloat16()


@pytest.mark.parametrize("limit", ["AVX2", "AVX512_CORE", "avx512_core_vnni"])
@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_onednn_held_to_less_is_not(zen4, monkeypatch, name, limit):
    monkeypatch.setenv(name, limit)
    assert not cpu.has_fast_bfloat16()


@pytest.mark.parametrize("limit", ["ALL", "AVX512_CORE_BF16", "avx10_1_512_amx"])
def test_onednn_held_to_enough_is(zen4, monkeypatch, limit):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert cpu.has_fast_bfloat16()


def test_an_older_processor_has_none(zen4, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert not cpu.has_fast_bfloat16()


def test_torch_held_to_avx2_has_none(zen4, monkeypatch):
    monkeypatch.setattr(cpu, "capability", lambda: "avx2")
    assert not cpu.has_fast_bfloat16()


def test_a_machine_held_to_avx2_is_believed():
    code = "from moodlens.core.cpu import *; print(has_fast_bfloat16(), packs_bfloat16())"
    limits = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    out = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | limits, capture_output=True, text=True, check=True
    )
    if not os.uname().machine.startswith("x86"):
        pytest.skip("not an x86 processor")
    assert out.stdout.split() == ["False", "False"]
