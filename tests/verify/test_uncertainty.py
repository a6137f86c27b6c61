"""A teacher's uncertainty against hand-computed and independent figures; planted bad ones fail, an oracle passes."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from edgemat.data.types import Sample
from edgemat.errors import InputError, OutputError
from edgemat.metrics import unknown_region
from edgemat.verify import uncertainty as figures
from edgemat.verify import uncertainty_plot, uncertainty_report
from edgemat.verify.uncertainty import coverage, reliability, skill, sparsification, spearman
from edgemat.verify.uncertainty_report import Predictions, Report, judge, measure, run

SIZE = 32
Alphas = npt.NDArray[np.float32]
FUNCTIONS = [spearman, sparsification, reliability, coverage, skill]


def random_pair(seed: int, n: int = 4000) -> tuple[Alphas, npt.NDArray[np.float64]]:
    """Draw an uncertainty and errors that are Laplace of that scale; both hold ties."""
    rng = np.random.default_rng(seed)
    uncertainty = np.maximum(rng.gamma(0.5, 0.05, n), 0.01).astype(np.float32)
    return uncertainty, np.round(rng.exponential(uncertainty), 3)


# --- rank correlation


@pytest.mark.parametrize("seed", range(5))
def test_spearman_is_scipys(seed: int) -> None:
    uncertainty, error = random_pair(seed)
    assert spearman(uncertainty, error) == pytest.approx(stats.spearmanr(uncertainty, error).statistic, rel=1e-12)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # no test looks at the clock
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=30))
def test_spearman_is_scipys_where_nearly_all_is_tied(pairs: list[tuple[int, int]]) -> None:
    u, e = np.array(pairs, np.float64).T
    found = spearman(u, e)
    if len(set(u)) == 1 or len(set(e)) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(stats.spearmanr(u, e).statistic, abs=1e-12)


def test_exact_pixels_bound_the_rank_correlation_as_documented() -> None:
    n, exact = 100_000, 0.91
    uncertainty = np.arange(n, dtype=np.float64)
    error = np.maximum(uncertainty - exact * n + 1, 0)  # ordered as well as can be
    assert spearman(uncertainty, error) == pytest.approx(math.sqrt(1 - exact**3), abs=1e-4)


# --- sparsification


def brute_force(key: npt.NDArray[np.float64], error: npt.NDArray[np.float64]) -> list[float]:
    """Follow the definition, for distinct keys: drop the highest, average the rest."""
    by_key = error[np.argsort(-key)]
    n = error.size
    return [float(by_key[n * percent // 100 :].mean() / error.mean()) for percent in range(100)]


def test_the_curves_are_the_definition() -> None:
    rng = np.random.default_rng(0)
    uncertainty, error = rng.permutation(500) / 500, rng.random(500)
    curves = sparsification(uncertainty, error)
    np.testing.assert_allclose(curves.remaining, brute_force(uncertainty, error), rtol=1e-12)
    np.testing.assert_allclose(curves.oracle, brute_force(error, error), rtol=1e-12)
    assert curves.removed[[0, -1]].tolist() == [0, 0.99]


def test_the_area_of_uniform_errors_is_known() -> None:
    error = (np.arange(100_000) + 0.5) / 100_000
    # The oracle's curve is 1 - f, so random's area is the integral of f; the inverted order's curve is 1 + f.
    assert sparsification(error, error).random == pytest.approx(0.99**2 / 2)
    assert sparsification(1 - error, error).ause == pytest.approx(0.99**2)
    assert sparsification(1 - error, error).ratio == pytest.approx(2)


def test_the_order_of_ties_does_not_matter() -> None:
    uncertainty, error = random_pair(1)
    order = np.argsort(-error)  # within ties, an unfair order
    one, other = sparsification(uncertainty, error), sparsification(uncertainty[order], error[order])
    np.testing.assert_allclose(one.remaining, other.remaining, rtol=1e-9)
    bins, others = reliability(uncertainty, error), reliability(uncertainty[order], error[order])
    np.testing.assert_allclose(bins.actual, others.actual, rtol=1e-9)


def test_a_constant_uncertainty_is_a_random_order() -> None:
    error = random_pair(2)[1]
    curves = sparsification(np.full(error.shape, 0.25), error)
    np.testing.assert_allclose(curves.remaining, 1, rtol=1e-12)
    assert curves.ratio == pytest.approx(1)


def test_without_errors_there_is_no_curve() -> None:
    curves = sparsification(np.arange(4.0), np.zeros(4))
    assert math.isnan(curves.ause)
    assert math.isnan(curves.ratio)
    assert math.isnan(sparsification(np.arange(4.0), np.ones(4)).ratio)


# --- reliability and coverage


def test_bins_hold_equally_many_pixels() -> None:
    uncertainty = np.random.default_rng(0).permutation(200) / 200
    error = uncertainty**2
    bins = reliability(uncertainty, error)
    by_bin = np.sort(uncertainty).reshape(figures.BINS, -1)
    np.testing.assert_allclose(bins.predicted, by_bin.mean(axis=1))
    np.testing.assert_allclose(bins.actual, (by_bin**2).mean(axis=1))
    assert bins.ece == pytest.approx(np.abs(by_bin.mean(axis=1) - (by_bin**2).mean(axis=1)).mean())


def test_more_bins_than_pixels_are_no_obstacle() -> None:
    bins = reliability(np.array([0.1, 0.3]), np.array([0.2, 0.2]))
    assert bins.predicted.tolist() == pytest.approx([0.1] * 10 + [0.3] * 10)
    assert bins.ece == pytest.approx(0.1)


def test_a_laplace_distribution_is_calibrated_and_covered() -> None:
    rng = np.random.default_rng(3)
    scale = rng.uniform(0.01, 0.3, 200_000)
    error = np.abs(rng.laplace(0, scale))
    assert reliability(scale, error).ece < 0.002
    assert reliability(scale / 2, error).ece == pytest.approx(scale.mean() / 2, rel=0.02)
    for level, share in coverage(scale, error).items():
        assert share == pytest.approx(level, abs=0.005)
    for level, share in coverage(scale / 2, error).items():  # half the scale: P(|e| <= b/2 ln) = 1 - sqrt(1 - q)
        assert share == pytest.approx(1 - math.sqrt(1 - level), abs=0.005)


def test_all_at_once_are_the_single_figures() -> None:
    pair = random_pair(4)
    found = skill(*pair)
    assert found.spearman == spearman(*pair)
    assert found.coverage == coverage(*pair)
    np.testing.assert_array_equal(found.sparsification.remaining, sparsification(*pair).remaining)
    np.testing.assert_array_equal(found.sparsification.oracle, sparsification(*pair).oracle)
    np.testing.assert_array_equal(found.reliability.actual, reliability(*pair).actual)
    np.testing.assert_array_equal(found.reliability.predicted, reliability(*pair).predicted)


# --- what is refused


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("uncertainty", "error", "message"),
    [
        (np.ones(3), np.ones(2), r"shapes \(3,\) and \(2,\)"),
        (np.ones(0), np.ones(0), "not empty"),
        (np.array([0.1, np.nan]), np.ones(2), r"uncertainty spans \[nan, nan\]"),
        (np.array([0.1, np.inf]), np.ones(2), r"uncertainty spans \[0.1, inf\]"),
        (np.array([0.1, -0.1]), np.ones(2), r"uncertainty spans \[-0.1, 0.1\]"),
        (np.ones(2), np.array([0.1, np.nan]), "error spans"),
        (np.ones(2), np.array([0.1, -1]), "error spans"),
    ],
)
def test_what_cannot_be_ranked_is_refused(
    function: Callable[..., object], uncertainty: Alphas, error: Alphas, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        function(uncertainty, error)


# --- a teacher on samples


def make_samples() -> list[Sample]:
    """Make six disks of skin, some behind a bar; two composites a face."""
    y, x = np.mgrid[:SIZE, :SIZE]
    samples = []
    for number in range(6):
        base = np.clip(10.5 + number / 4 - np.hypot(y - 15.5, x - 15.5), 0, 1).astype(np.float32)
        alpha = base.copy()
        kinds = ((), ("hand",), ("hand", "hand", "cup"))[number % 3]
        if kinds:
            alpha[10 + number : 14 + number] = 0.25
        image = np.full((SIZE, SIZE, 3), number * 40, np.uint8)
        samples.append(Sample(image, alpha, base, base, f"face-{number // 2}", kinds, kinds))
    return samples


SAMPLES = make_samples()
TRUTH = np.stack([sample.alpha for sample in SAMPLES])
_NOISE = np.random.default_rng(0).laplace(0, 0.1, TRUTH.shape)
ALPHA = np.clip(TRUTH + _NOISE, 0, 1).astype(np.float32)
ORACLE = np.abs(ALPHA - TRUTH)


def report_of(uncertainty: Alphas) -> Report:
    return measure(SAMPLES, Predictions(ALPHA, uncertainty))


@pytest.fixture(scope="module")
def oracle() -> Report:
    """Report of an uncertainty that is the error itself."""
    return report_of(ORACLE)


def test_an_oracle_passes(oracle: Report) -> None:
    assert judge(oracle) == []
    assert oracle
    pooled = oracle.pooled
    assert pooled.spearman == pytest.approx(1)
    assert pooled.sparsification.ause == pytest.approx(0, abs=1e-9)
    assert pooled.reliability.ece == pytest.approx(0, abs=1e-9)
    assert oracle.image_spearman is not None
    assert oracle.image_spearman.low == pytest.approx(1)


@pytest.mark.parametrize(
    ("planted", "correlation", "area"),
    [
        (np.random.default_rng(1).permutation(ORACLE.ravel()).reshape(ORACLE.shape), "is -?0.0", "of a random"),
        (np.full_like(ORACLE, 0.1), r"is undefined \(a constant", "1.00 of a random"),
        ((ORACLE.max() - ORACLE).astype(np.float32), "is -1.000", "of a random"),
    ],
    ids=["shuffled", "constant", "inverted"],
)
def test_a_planted_bad_uncertainty_fails_both_gates(planted: Alphas, correlation: str, area: str) -> None:
    report = report_of(planted)
    assert not report
    first, second = judge(report)
    assert first.startswith("Spearman")
    assert second.startswith("AUSE")
    assert re.search(correlation, first), first
    assert re.search(area, second), second
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert document["passed"] is False
    assert document["failures"] == [first, second]


def test_either_gate_fails_alone() -> None:
    large = np.quantile(ORACLE, 0.9)
    blind_to_the_large = np.where(large < ORACLE, 0, ORACLE)
    assert [failure.split()[0] for failure in judge(report_of(blind_to_the_large))] == ["AUSE"]
    large = np.quantile(ORACLE, 0.85)
    guesses_the_small = np.where(large < ORACLE, ORACLE, np.random.default_rng(2).random(ORACLE.shape) * large)
    assert [failure.split()[0] for failure in judge(report_of(guesses_the_small))] == ["Spearman"]


def test_a_teacher_that_never_errs_cannot_be_judged_and_fails() -> None:
    report = measure(SAMPLES, Predictions(TRUTH, ORACLE))
    assert report.image_spearman is None
    first, second = judge(report)
    assert "100% of the pixels have no error" in first
    assert "undefined (every pixel has the same error)" in second
    json.dumps(report.to_json(), allow_nan=False)


def test_rows_are_all_then_each_kind_over_frame_and_unknown_region(oracle: Report) -> None:
    rows = {(row.group, row.region): row for row in oracle.figures}
    assert list(rows) == [
        (group, region)
        for group in ("all", "occluder: cup", "occluder: hand", "occluder: none")
        for region in ("frame", "unknown")
    ]
    assert [rows[group, "frame"].images for group, _ in list(rows)[::2]] == [6, 2, 4, 2]  # two hands count once
    bands = np.stack([unknown_region(alpha, 10 * SIZE / 256) for alpha in TRUTH])
    noisy = report_of(random_pair(0, TRUTH.size)[0].reshape(TRUTH.shape))
    row = {(row.group, row.region): row for row in noisy.figures}["all", "unknown"]
    uncertainty = random_pair(0, TRUTH.size)[0].reshape(TRUTH.shape)
    assert row.pixels == bands.sum()
    assert row.error == pytest.approx(ORACLE[bands].mean(dtype=np.float64))
    assert row.exact == np.mean(ORACLE[bands] == 0)
    assert row.spearman == pytest.approx(stats.spearmanr(uncertainty[bands], ORACLE[bands]).statistic)
    hands = [1, 2, 4, 5]
    row = {(row.group, row.region): row for row in noisy.figures}["occluder: hand", "frame"]
    expected = stats.spearmanr(uncertainty[hands].ravel(), ORACLE[hands].ravel()).statistic
    assert row.spearman == pytest.approx(expected)


def test_images_have_their_own_figures() -> None:
    uncertainty = random_pair(0, TRUTH.size)[0].reshape(TRUTH.shape).copy()
    uncertainty[4] = 0.1  # ranks nothing
    report = report_of(uncertainty)
    own = [
        stats.spearmanr(u.ravel(), e.ravel()).statistic for u, e in zip(uncertainty, ORACLE, strict=True) if np.ptp(u)
    ]
    assert [image.spearman for image in report.images if image.index != 4] == pytest.approx(own)
    assert math.isnan(report.images[4].spearman)
    assert report.image_spearman is not None
    assert report.image_spearman.value == pytest.approx(np.mean(own))
    document = report.to_json()
    assert document["images"][4]["spearman"] is None  # type: ignore[index]
    assert document["images"][2]["kinds"] == ["hand", "hand", "cup"]  # type: ignore[index]


def test_an_image_without_an_edge_has_no_unknown_region() -> None:
    blank = np.zeros((SIZE, SIZE), np.float32)
    sample = Sample(np.zeros((SIZE, SIZE, 3), np.uint8), blank, blank, blank, "empty")
    report = measure([sample], Predictions(ALPHA[:1], ALPHA[:1]))
    assert [(row.group, row.region) for row in report.figures] == [("all", "frame"), ("occluder: none", "frame")]


def test_the_histogram_counts_every_pixel_once(oracle: Report) -> None:
    assert oracle.error_counts.sum() == oracle.uncertainty_counts.sum() == TRUTH.size
    assert oracle.error_counts[0] >= np.sum(ORACLE == 0) > 0
    np.testing.assert_array_equal(oracle.error_counts, oracle.uncertainty_counts)


def test_json_holds_curves_and_is_the_same_again(oracle: Report) -> None:
    text = json.dumps(oracle.to_json(), allow_nan=False)
    assert text == json.dumps(report_of(ORACLE).to_json(), allow_nan=False)
    document = json.loads(text)
    assert document["schema_version"] == 1
    assert document["passed"] is True
    assert document["limits"] == {"lowest_spearman": 0.5, "highest_ause_ratio": 0.5}
    first = document["figures"][0]
    assert len(first["sparsification"]["remaining"]) == figures.STEPS
    assert len(first["reliability"]["actual"]) == figures.BINS
    assert set(first["coverage"]) == {"0.5", "0.8", "0.95"}


# --- running a teacher


def test_a_teacher_runs_in_batches_and_in_order() -> None:
    sizes: list[int] = []

    def predict(images: npt.NDArray[np.uint8]) -> tuple[Alphas, Alphas]:
        sizes.append(len(images))
        value = (images[..., 0] / 255).astype(np.float32)
        return value, value / 2

    predictions = run(predict, SAMPLES * 3)
    assert sizes == [16, 2]
    assert predictions.alpha[:, 0, 0].tolist() == pytest.approx([40 * n / 255 for n in range(6)] * 3)
    np.testing.assert_array_equal(predictions.uncertainty, predictions.alpha / 2)


def spoiled(name: str, value: float) -> tuple[Alphas, Alphas]:
    """Return a good answer with one bad pixel in image 3."""
    answer = {"alpha": ALPHA.copy(), "uncertainty": ORACLE.copy()}
    answer[name][3, 5, 5] = value
    return answer["alpha"], answer["uncertainty"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (spoiled("uncertainty", np.nan), r"uncertainty of image 3 \(face face-1\) holds 1 values that are not finite"),
        (spoiled("uncertainty", np.inf), r"image 3 \(face face-1\) holds 1 values that are not finite"),
        (spoiled("uncertainty", -1e-6), r"image 3 \(face face-1\) holds 0 .* and 1 negative"),
        (spoiled("alpha", np.nan), r"alpha of image 3 \(face face-1\)"),
        (spoiled("alpha", 1.5), r"its largest is 1.5; expected finite values \[0, 1\]"),
        ((ALPHA, ORACLE[:2]), r"uncertainty is float32\(2, 32, 32\) for 6 images; expected float32\(6, 32, 32\)"),
        ((ALPHA.astype(np.float64), ORACLE), "alpha is float64"),
    ],
)
def test_a_bad_answer_names_the_image(answer: tuple[Alphas, Alphas], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(lambda _: answer, SAMPLES)


def test_samples_and_predictions_must_fit() -> None:
    with pytest.raises(InputError, match="0 samples"):
        run(lambda _: (ALPHA, ORACLE), [])
    small = np.zeros((8, 8), np.float32)
    other = Sample(np.zeros((8, 8, 3), np.uint8), small, small, small, "small")
    with pytest.raises(InputError, match="of one size"):
        run(lambda _: (ALPHA, ORACLE), [*SAMPLES, other])
    with pytest.raises(InputError, match=r"alpha \(2, 32, 32\)"):
        measure(SAMPLES, Predictions(ALPHA[:2], ORACLE[:2]))


# --- drawing


def test_the_plot_has_three_panels_and_leaves_matplotlib_alone(oracle: Report, tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    uncertainty_plot.plot(oracle, tmp_path / "plot.png")
    assert dict(mpl.rcParams) == before
    picture = np.asarray(Image.open(tmp_path / "plot.png").convert("L"))
    assert picture.shape == (450, 1500)
    panels = np.array_split(picture, 3, axis=1)
    assert all(((panel < 128).sum() > 500) for panel in panels)  # something is drawn in each


def test_drawing_loads_no_window_system(tmp_path: Path) -> None:
    code = (
        "import sys; from tests_uncertainty import *; uncertainty_plot.plot(report_of(ORACLE), sys.argv[1]);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    (tmp_path / "tests_uncertainty.py").write_bytes(Path(__file__).read_bytes())
    command = [sys.executable, "-c", code, str(tmp_path / "plot.png")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("alpha", [ALPHA, TRUTH], ids=["errs", "never errs"])
@pytest.mark.parametrize("uncertainty", [ORACLE, np.zeros_like(ORACLE)], ids=["oracle", "zero"])
def test_every_report_can_be_drawn(alpha: Alphas, uncertainty: Alphas, tmp_path: Path) -> None:
    predictions = Predictions(alpha, uncertainty)
    report = measure(SAMPLES, predictions)
    uncertainty_plot.plot(report, tmp_path / "plot.png")
    uncertainty_plot.pictures(SAMPLES, predictions, report, tmp_path / "pictures.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_pictures_go_from_the_best_ranked_to_the_worst(tmp_path: Path) -> None:
    uncertainty = ORACLE.copy()
    uncertainty[2] = ORACLE[2].max() - ORACLE[2]  # ranked the wrong way round
    uncertainty[0] = 0.125  # ranks nothing: after the worst
    predictions = Predictions(ALPHA, uncertainty)
    report = measure(SAMPLES, predictions)
    uncertainty_plot.pictures(SAMPLES, predictions, report, tmp_path / "pictures.png")
    picture = np.asarray(Image.open(tmp_path / "pictures.png")).astype(int)
    assert picture.shape == (16 + 6 * (16 + SIZE), 5 * SIZE, 3)
    image, truth, alpha, error, doubt = picture[-SIZE:].reshape(SIZE, 5, SIZE, 3).transpose(1, 0, 2, 3)
    assert (image == 0).all()
    np.testing.assert_array_equal(truth[..., 0], np.round(TRUTH[0] * 255))
    np.testing.assert_array_equal(alpha[..., 0], np.round(ALPHA[0] * 255))
    np.testing.assert_allclose(error[..., 0], np.clip(ORACLE[0] * 4, 0, 1) * 255, atol=0.51)
    assert (doubt == 128).all()
    above = picture[-16 - 2 * SIZE : -16 - SIZE, :SIZE]
    assert (above == 2 * 40).all()  # image 2


def test_drawing_refuses_what_does_not_fit(oracle: Report, tmp_path: Path) -> None:
    goal = tmp_path / "pictures.png"
    with pytest.raises(InputError, match="5 samples, 6 predictions, 6 measured"):
        uncertainty_plot.pictures(SAMPLES[:5], Predictions(ALPHA, ORACLE), oracle, goal)
    with pytest.raises(InputError, match="0 rows"):
        uncertainty_plot.pictures(SAMPLES, Predictions(ALPHA, ORACLE), oracle, goal, n=0)
    assert not goal.exists()
    (tmp_path / "file").write_text("here first")
    with pytest.raises(OutputError):
        uncertainty_plot.plot(oracle, tmp_path / "file" / "plot.png")


def test_a_teacher_without_its_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        uncertainty_report.teacher(tmp_path / "nowhere.safetensors")


def test_a_file_becomes_a_teacher(tmp_path: Path) -> None:
    from edgemat.model.teacher import Teacher, TeacherConfig
    from edgemat.model.weights import CARD_KEYS, save_teacher

    save_teacher(Teacher(TeacherConfig()), tmp_path / "teacher.safetensors", dict.fromkeys(CARD_KEYS, "none"))
    predictions = run(uncertainty_report.teacher(tmp_path / "teacher.safetensors"), SAMPLES[:2])
    assert predictions.alpha.shape == (2, SIZE, SIZE)
    assert predictions.uncertainty.min() > 0
