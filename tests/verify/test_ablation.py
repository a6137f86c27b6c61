"""The comparison of arms: planted effects, regions by hand, the gate, and bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from edgemat.data.types import Sample
from edgemat.errors import InputError
from edgemat.metrics import Values, conn, grad, mad, unknown_region
from edgemat.verify.ablation import Alphas, compare_arms, failures, uncertain_region
from edgemat.verify.ablation_report import COLUMNS, MEAN_COLUMNS, Ablation

SIZE, FACES = 32, 12
KINDS: tuple[tuple[str, ...], ...] = (("hand",), ("hand", "glasses"), ())
Y, X = np.mgrid[:SIZE, :SIZE]
Arms = dict[str, list[Alphas]]


def make_sample(number: int) -> Sample:
    """Make a disk of skin, its place by number; three composites a face."""
    alpha = np.clip(9.5 - np.hypot(Y - 12 - number % 5, X - 14 - number % 4), 0, 1).astype(np.float32)
    kinds = KINDS[number % 3]
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    return Sample(image, alpha, alpha, alpha, f"face-{number // 3}", tuple(f"{k}-1" for k in kinds), kinds)


SAMPLES = [make_sample(number) for number in range(3 * FACES)]
TRUTH = np.stack([sample.alpha for sample in SAMPLES])
FROM_EDGE = np.stack([np.abs(9 - np.hypot(Y - 12 - n % 5, X - 14 - n % 4)) for n in range(3 * FACES)])
UNCERTAINTY = (1 / (1 + FROM_EDGE)).astype(np.float32)
DOUBTED = np.stack([uncertain_region(one) for one in UNCERTAINTY])


def predict(rng: np.random.Generator, sigma: float | Values, seeds: int = 3) -> list[Alphas]:
    """Predict the truth with noise of a scale a pixel; images differ in difficulty, seeds in luck."""
    difficulty = np.random.default_rng(2).uniform(0.5, 1.5, (len(TRUTH), 1, 1))
    return [
        np.clip(TRUTH + rng.normal(0, 1, TRUTH.shape) * sigma * difficulty, 0, 1).astype(np.float32)
        for _ in range(seeds)
    ]


def make_arms(weighted: float | Values, unweighted: float = 0.1) -> Arms:
    rng = np.random.default_rng(8)
    return {
        "ground truth": predict(rng, 0.12),
        "unweighted": predict(rng, unweighted),
        "weighted": predict(rng, weighted),
    }


def compare(arms: Arms) -> Ablation:
    return compare_arms(arms, SAMPLES, UNCERTAINTY, "unweighted")


@pytest.fixture(scope="module")
def better() -> Ablation:
    """One arm is better on the uncertain pixels, and only there."""
    return compare(make_arms(np.where(DOUBTED, 0.08, 0.1)))


# ---- Planted effects


def test_an_effect_on_uncertain_pixels_is_found_there_and_passes_the_gate(better: Ablation) -> None:
    row = better.difference("weighted", "unweighted", "mad", "uncertain")
    assert row.verdict == "lower"
    assert row.percent is not None
    assert row.percent.low <= row.percent.value <= row.percent.high < 0
    assert row.percent.value == pytest.approx(-20, abs=4)
    assert better.difference("weighted", "unweighted", "grad", "uncertain").verdict == "lower"
    assert failures(better) == []


def test_the_arm_that_is_worse_everywhere_is_higher_everywhere(better: Ablation) -> None:
    for region in ("frame", "unknown", "uncertain"):
        for metric in ("mad", "grad"):
            assert better.difference("ground truth", "unweighted", metric, region).verdict == "higher"
    found = failures(better, "ground truth")
    assert len(found) == 3
    assert "Grad over the 20 % most uncertain pixels" in found[1]
    assert "MAD over the whole frame" in found[2]
    assert found[2].endswith("higher; expected not higher")


def test_no_effect_is_reported_as_a_null_result() -> None:
    report = compare(make_arms(0.1))
    assert report.difference("weighted", "unweighted", "mad").verdict == "no difference shown"
    found = failures(report)
    assert len(found) == 2
    for sentence in found:
        assert "no difference shown, a null result; expected lower, with the interval clear of zero" in sentence


def test_a_gain_on_uncertain_pixels_that_costs_the_frame_fails_on_the_frame_alone() -> None:
    far = FROM_EDGE > 7  # beyond the reach of the gradient's filter at uncertain pixels
    found = failures(compare(make_arms(np.where(DOUBTED, 0.08, np.where(far, 0.2, 0.1)))))
    assert len(found) == 1
    assert "MAD over the whole frame differs by" in found[0]


def test_luck_of_one_seed_is_no_effect() -> None:
    arms = make_arms(0.1)
    arms["weighted"][0] = predict(np.random.default_rng(77), 0.03, 1)[0]
    row = compare(arms).difference("weighted", "unweighted", "mad")
    assert row.difference.value < 0
    assert row.verdict == "no difference shown"


# ---- Figures and regions


def test_every_figure_is_the_mean_of_the_metric_itself(better: Ablation) -> None:
    arms = make_arms(np.where(DOUBTED, 0.08, 0.1))
    functions = {"mad": mad, "grad": grad, "conn": conn}
    masks: dict[str, Callable[[int], npt.NDArray[np.bool_] | None]] = {
        "frame": lambda index: None,
        "unknown": lambda index: unknown_region(TRUTH[index], 10 * SIZE / 256),
        "uncertain": lambda index: DOUBTED[index],
    }
    table = {(row.arm, row.region, row.metric): row for row in better.means if row.group == "all"}
    assert len(table) == 3 * 3 * 3
    for (arm, region, metric), row in table.items():
        each = [
            np.mean([functions[metric](p[i], TRUTH[i], masks[region](i)) for i in range(len(TRUTH))]) for p in arms[arm]
        ]
        assert row.seeds == pytest.approx(each)
        assert row.value.value == pytest.approx(np.mean(each))
        assert row.value.low <= row.value.value <= row.value.high
        if arm != "unweighted":
            gap = better.difference(arm, "unweighted", metric, region).difference
            assert gap.value == pytest.approx(row.value.value - table["unweighted", region, metric].value.value)


def test_occluders_are_compared_over_the_frame_and_free_faces_are_none(better: Ablation) -> None:
    rows = [row for row in better.differences if row.arm == "weighted" and row.group != "all"]
    assert {(row.group, row.images, row.faces, row.region) for row in rows} == {
        ("occluder: glasses", FACES, FACES, "frame"),
        ("occluder: hand", 2 * FACES, FACES, "frame"),
        ("occluder: none", FACES, FACES, "frame"),
    }
    arms = make_arms(np.where(DOUBTED, 0.08, 0.1))["weighted"]
    free = [mad(alpha[index], TRUTH[index]) for alpha in arms for index in range(2, 3 * FACES, 3)]
    row = next(r for r in better.means if (r.arm, r.group, r.metric) == ("weighted", "occluder: none", "mad"))
    assert row.value.value == pytest.approx(np.mean(free))


def test_the_most_uncertain_fifth_by_hand() -> None:
    field = np.array([[5, 1, 4, 2, 0], [9, 3, 0, 8, 4]], np.float32)  # a fifth of ten pixels is two: 9 and 8
    assert np.argwhere(uncertain_region(field)).tolist() == [[1, 0], [1, 3]]
    ties = np.array([[0, 7, 7, 1, 0], [7, 0, 0, 0, 0]], np.float32)  # of equals the first in reading order
    assert np.argwhere(uncertain_region(ties)).tolist() == [[0, 1], [0, 2]]
    assert uncertain_region(np.zeros((1, 2), np.float32)).tolist() == [[True, False]]
    assert int(uncertain_region(np.random.default_rng(0).random((256, 256), np.float32)).sum()) == 13107


def test_an_image_without_an_edge_has_no_unknown_region() -> None:
    arms = make_arms(0.1)
    samples = [replace(SAMPLES[0], alpha=np.zeros_like(TRUTH[0])), *SAMPLES[1:]]
    report = compare_arms(arms, samples, UNCERTAINTY, "unweighted")
    assert report.difference("weighted", "unweighted", "mad", "unknown").images == 3 * FACES - 1
    assert report.difference("weighted", "unweighted", "mad", "uncertain").images == 3 * FACES


def test_few_faces_get_no_verdict() -> None:
    arms = {arm: [alpha[:15] for alpha in seeds] for arm, seeds in make_arms(0.01).items()}
    report = compare_arms(arms, SAMPLES[:15], UNCERTAINTY[:15], "unweighted")
    assert report.difference("weighted", "unweighted", "mad").verdict == "too few faces"
    assert len(failures(report)) == 3


def test_a_perfect_reference_has_no_percentages() -> None:
    arms = make_arms(0.1)
    samples = [replace(SAMPLES[0], alpha=np.zeros_like(TRUTH[0]), face_id=str(i)) for i in range(len(TRUTH))]
    blank = [np.zeros_like(TRUTH), np.zeros_like(TRUTH), np.zeros_like(TRUTH)]
    blank[1][0, 0, 0], blank[2][1, 0, 0] = 1e-3, 1e-3
    report = compare_arms({"a": arms["weighted"], "blank": blank}, samples, UNCERTAINTY, "blank")
    assert report.difference("a", "blank", "mad").percent is None
    assert "-" in report.rows()[0]
    json.dumps(report.to_json(), allow_nan=False)


# ---- The report


def test_further_pairs_are_compared_once() -> None:
    arms = make_arms(0.1)
    also = [("weighted", "ground truth"), ("weighted", "unweighted")]
    report = compare_arms(arms, SAMPLES, UNCERTAINTY, "unweighted", also)
    pairs = [(row.arm, row.reference) for row in report.differences if row.group == "all" and row.region == "frame"]
    assert pairs[::3] == [("ground truth", "unweighted"), ("weighted", "unweighted"), ("weighted", "ground truth")]
    assert report.difference("weighted", "ground truth", "mad").verdict == "lower"
    with pytest.raises(InputError, match="no comparison of 'unweighted' with 'weighted'"):
        report.difference("unweighted", "weighted", "mad")


def test_tables_and_json_hold_every_row(better: Ablation) -> None:
    assert {len(row) for row in better.rows()} == {len(COLUMNS)}
    assert {len(row) for row in better.mean_rows()} == {len(MEAN_COLUMNS)}
    lines = str(better).splitlines()
    assert sum(line.startswith("| ") for line in lines) == len(better.differences) + len(better.means) + 4
    assert "10000 bootstrap resamples of faces" in lines[-1]
    assert "Fewer than" not in lines[-1]
    value = json.loads(json.dumps(better.to_json(), allow_nan=False))
    assert value["schema_version"] == 1
    assert len(value["differences"]) == 2 * 6 * 3
    assert value["differences"][0]["verdict"] == better.differences[0].verdict
    assert len(value["means"][0]["seeds"]) == 3
    assert value["few_seeds"] is False


def test_the_same_input_gives_the_same_report(better: Ablation) -> None:
    assert compare(make_arms(np.where(DOUBTED, 0.08, 0.1))) == better


def test_progress_counts_images() -> None:
    seen: list[tuple[int, int]] = []
    arms = {arm: [alpha[:4] for alpha in seeds] for arm, seeds in make_arms(0.1).items()}
    compare_arms(
        arms, SAMPLES[:4], UNCERTAINTY[:4], "unweighted", progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


# ---- Seeds and bad input


def test_few_seeds_are_refused_unless_asked_for_and_then_marked() -> None:
    arms = make_arms(np.where(DOUBTED, 0.05, 0.1))
    arms["weighted"] = arms["weighted"][:1]
    with pytest.raises(InputError, match=r"too few seeds: weighted \(1\); expected at least 3.*min_seeds"):
        compare(arms)
    report = compare_arms(arms, SAMPLES, UNCERTAINTY, "unweighted", min_seeds=1)
    assert report.few_seeds
    assert "**Fewer than 3 seeds" in str(report)
    assert report.to_json()["few_seeds"] is True
    assert failures(report) == ["fewer than 3 seeds: weighted (1); luck of the seed may pass for an effect"]
    with pytest.raises(InputError, match="min_seeds is 0"):
        compare_arms(arms, SAMPLES, UNCERTAINTY, "unweighted", min_seeds=0)


def test_one_run_given_twice_is_refused() -> None:
    arms = make_arms(0.1)
    arms["weighted"][2] = arms["weighted"][0].copy()
    with pytest.raises(InputError, match=r"arm 'weighted': seeds 0 and 2 predict exactly the same"):
        compare(arms)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (TRUTH[1:], r"alpha of arm 'weighted', seed 1 is float32\(35, 32, 32\); expected float32\(36, 32, 32\)"),
        (TRUTH.astype(np.float64), "seed 1 is float64"),
        (np.where(TRUTH > 2, TRUTH, np.float32(np.nan)), r"spans \[nan, nan\]; expected finite values in \[0, 1\]"),
        (TRUTH + np.float32(0.5), r"spans \[0\.5, 1\.5\]"),
    ],
)
def test_a_bad_prediction_is_named(bad: Alphas, message: str) -> None:
    arms = make_arms(0.1)
    arms["weighted"][1] = bad
    with pytest.raises(InputError, match=message):
        compare(arms)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (UNCERTAINTY[..., :-1], r"the uncertainty is float32\(36, 32, 31\)"),
        (-UNCERTAINTY, "expected finite values >= 0"),
        (np.full_like(UNCERTAINTY, np.nan), "expected finite values >= 0"),
        (np.full_like(UNCERTAINTY, np.inf), "expected finite values >= 0"),
    ],
)
def test_a_bad_uncertainty_is_named(bad: Alphas, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare_arms(make_arms(0.1), SAMPLES, bad, "unweighted")


def test_arms_must_be_there_to_be_compared() -> None:
    arms = make_arms(0.1)
    with pytest.raises(InputError, match="no arm 'plain'; there are ground truth, unweighted, weighted"):
        compare_arms(arms, SAMPLES, UNCERTAINTY, "plain")
    with pytest.raises(InputError, match="no arm 'plain'"):
        compare_arms(arms, SAMPLES, UNCERTAINTY, "weighted", also=[("plain", "weighted")])
    with pytest.raises(InputError, match="compared with itself"):
        compare_arms(arms, SAMPLES, UNCERTAINTY, "weighted", also=[("weighted", "weighted")])
    with pytest.raises(InputError, match=r"1 arm\(s\) \(weighted\)"):
        compare_arms({"weighted": arms["weighted"]}, SAMPLES, UNCERTAINTY, "weighted")
    with pytest.raises(InputError, match="no comparison of 'weighted' with 'unweighted'"):
        failures(compare_arms({"a": arms["weighted"], "b": arms["unweighted"]}, SAMPLES, UNCERTAINTY, "a"))


def test_samples_must_be_there_and_of_one_size() -> None:
    arms = make_arms(0.1)
    with pytest.raises(InputError, match="no samples"):
        compare_arms(arms, [], UNCERTAINTY[:0], "weighted")
    small = replace(SAMPLES[0], alpha=TRUTH[0, :-1])
    with pytest.raises(InputError, match="differ in size"):
        compare_arms(arms, [small, *SAMPLES[1:]], UNCERTAINTY, "weighted")
