"""What benchmark_model prints, as several versions of it do, and what it must not be believed in."""

from __future__ import annotations

import pytest

from edgemat.errors import InputError
from edgemat.verify.bench import benchmark_model
from edgemat.verify.bench.benchmark_model import BenchmarkError, flags, parse

OLD = """STARTING!
Graph: [/data/local/tmp/a.tflite]
Loaded model /data/local/tmp/a.tflite
Initialized session in 16.242ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=1 curr=3512391

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=50 first=249042 curr=250889 min=247067 max=254474 avg=2.49684e+05 std=1442

Inference timings in us: Init: 16242, First inference: 360262, Warmup (avg): 304586, Inference (avg): 249684
Peak memory footprint (MB): init=4.92969 overall=138.809
"""
NEW = """INFO: STARTING!
INFO: Loaded model a.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
VERBOSE: Replacing 70 out of 77 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 3 partitions.
INFO: Initialized session in 4.478ms.
INFO: count=105 first=5033 curr=4973 min=4943 max=5133 avg=4965.319 std=18 p5=4959 median=4963 p95=4978
INFO: count=212 first=4963 curr=4959 min=4942 max=5979 avg=4964.545 std=13 p5=4960 median=4962 p95=4978

INFO: Inference timings in us: Init: 4478, First inference: 5033, Warmup (avg): 4965.32, Inference (avg): 4964.55
INFO: Memory footprint delta from the start of the tool (MB): init=14.4414 overall=16.0
"""
LITERT = """VERBOSE: Replacing 77 out of 77 node(s) with delegate (LITERT_CL) node, yielding 1 partitions.
INFO: count=5 first=473 curr=473 min=443 max=1033 avg=465.319 std=18 p5=459 median=463 p95=478
INFO: count=112 first=463 curr=459 min=442 max=979 avg=464.545 std=13 p5=460 median=462 p95=478
INFO: [./litert/tools/benchmark_litert_model.h:81]
========== BENCHMARK RESULTS ==========
INFO: [./litert/tools/benchmark_litert_model.h:82] Model initialization: 4.48 ms
INFO: [./litert/tools/benchmark_litert_model.h:84] Warmup (first):       1.03 ms
Overall footprint:    32.00 MB
"""
GPU = NEW + "INFO: Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.\n"
REFUSED = (
    NEW + "INFO: Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate.\n"
)


def test_an_old_tools_mean_is_told_from_a_median() -> None:
    found = parse(OLD, "cpu")
    assert (found.calls, found.typical, found.is_median, found.minimum) == (50, 249.684, False, 247.067)
    assert (found.load_ms, found.peak_bytes, found.placement, found.p95) == (16.242, None, {}, None)


def test_a_new_tools_median_load_memory_and_placement() -> None:
    found = parse(NEW, "cpu")
    assert (found.calls, found.typical, found.is_median, found.p95) == (212, 4.962, True, 4.978)
    assert (found.load_ms, found.peak_bytes) == (4.478, 16 << 20)
    assert found.placement == {"TfLiteXNNPackDelegate": 70, "CPU": 7}


def test_litert_s_own_tool() -> None:
    found = parse(LITERT, "gpu")
    assert (found.calls, found.typical, found.load_ms) == (112, 0.462, 4.48)
    assert (found.peak_bytes, found.placement) == (32 << 20, {"LITERT_CL": 77})


def test_a_delegate_that_refused_the_graph_gives_no_time() -> None:
    assert parse(GPU, "gpu").typical == 4.962
    with pytest.raises(BenchmarkError, match="gpu refused the whole graph, so that the CPU ran it"):
        parse(REFUSED, "gpu")
    assert parse(REFUSED, "cpu").typical == 4.962


def test_a_flag_that_the_tool_ignored_gives_no_time() -> None:
    with pytest.raises(BenchmarkError, match="does not know --use_nnapi=true; give another --benchmark-binary"):
        parse("WARN: Unconsumed cmdline flags: --use_nnapi=true\n" + NEW, "nnapi")


def test_an_output_without_times_shows_its_end() -> None:
    with pytest.raises(BenchmarkError, match=r"printed no times; its last words:\nERROR: Failed to load model"):
        parse("ERROR: Failed to load model\n", "cpu")
    with pytest.raises(BenchmarkError, match=r"\(nothing\)"):
        parse("", "cpu")


def test_the_flags_are_those_of_the_tool() -> None:
    known = {
        "graph", "num_threads", "num_runs", "warmup_runs", "warmup_min_secs", "min_secs", "max_secs", "use_gpu",
        "use_nnapi", "use_npu",
    }  # fmt: skip
    for accelerator in benchmark_model.ACCELERATORS:
        found = flags("/a.tflite", 4, accelerator, 60, ("--dispatch_library_path=/x",))
        assert found[-1] == "--dispatch_library_path=/x"
        assert {flag.removeprefix("--").partition("=")[0] for flag in found[:-1]} <= known
    with pytest.raises(InputError, match="--accelerator tpu: expected one of cpu, gpu, nnapi, npu"):
        flags("/a.tflite", 1, "tpu", 50)
