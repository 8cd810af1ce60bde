import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from sklearn import metrics
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import LabelEncoder
from sklearn.svm import SVC

from ml_pipeline.errors import InputError
from ml_pipeline.model import bootstrap as model_bootstrap
from ml_pipeline.model.bootstrap import RESAMPLES, Difference, bootstrap, f1_leads, measure
from ml_pipeline.model.metrics import Classes, Encoded, Metric, Responses, by_class, metric_value

LABELS: dict[str, list[Any]] = {
    # Not in alphabetical order, so that a model's order of classes is not that of the numbers below.
    "text": ["pear", "apple", "fig, dried", "Kiwi"],
    "numbers": [30, -10, 20, 40],
    "booleans": [True, False],
}
MODELS = {
    "probabilities and decisions": LogisticRegression(max_iter=500),
    "probabilities": GaussianNB(),
    "decisions": RidgeClassifier(),
}
POSITIVES = [(kind, value) for kind, values in LABELS.items() for value in ("", *map(str, values[:2]))]
"""Kinds of labels, and the positive class as text; the empty one stands for the greater."""


class Constant:
    """A model that always gives the same answer."""

    def __init__(self, label: object) -> None:
        self.label = label

    def predict(self, rows: Any) -> NDArray[Any]:
        return np.full(len(rows), self.label)


@functools.cache
def fitted(name: str, kind: str, count: int) -> tuple[Any, NDArray[np.float64], NDArray[Any]]:
    """Give a model, and rows that it hasn't seen with their labels."""
    rows, numbers = make_classification(
        240, 6, n_informative=4, n_redundant=0, n_classes=count, flip_y=0.2, random_state=1
    )
    labels = np.array(LABELS[kind])[numbers]
    model = type(MODELS[name])(**MODELS[name].get_params()).fit(rows[:120], labels[:120])
    return model, rows[120:], labels[120:]


def both(model: Any, rows: Any, classes: Classes) -> list[tuple[Encoded | Responses, Any]]:
    return [(Encoded(model, classes), rows), (Responses.of(model, rows, classes), np.arange(len(rows)))]


def responses(labels: list[int], *, classes: int = 2) -> Responses:
    return Responses(Classes(tuple(range(classes))), np.array(labels))


DISTINCT = st.one_of(
    st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=2, unique=True),
    st.lists(st.integers(-(2**62), 2**62), min_size=2, unique=True),
    st.just([False, True]),
)


@st.composite
def targets(draw: st.DrawFn) -> list[Any]:
    values = draw(DISTINCT)
    return draw(st.permutations([*values, *draw(st.lists(st.sampled_from(values)))]))


@given(targets(), st.sampled_from([np.array, pd.Series, lambda target: np.array(target, dtype=object)]))
def test_classes_are_encoded_as_scikit_learn_does(target: list[Any], column: Callable[[list[Any]], Any]) -> None:
    expected = LabelEncoder().fit_transform(np.array(target))

    classes = Classes.of(column(target))

    assert classes.encode(column(target)).tolist() == expected.tolist()
    assert classes.values == tuple(sorted(set(target)))


@given(targets(), st.data())
def test_encoding_can_be_undone(target: list[Any], data: st.DataObject) -> None:
    values = tuple(data.draw(st.permutations(sorted(set(target)))))

    encoded = Classes(values).encode(np.array(target))

    assert [values[position] for position in encoded] == target


@pytest.mark.parametrize("values", [["no", "yes"], ["yes", "no"], [0, 1], [-1.0, 1.0], [False, True]], ids=str)
@pytest.mark.parametrize("last", [0, 1])
def test_the_positive_class_is_the_last(values: list[Any], last: int) -> None:
    positive = values[last]

    classes = Classes.of([*values, *values], positive=str(positive))

    assert classes.values == (values[1 - last], positive)
    assert classes.encode(values).tolist() == [int(value == positive) for value in values]


@pytest.mark.parametrize(
    ("target", "text", "positive"),
    [
        ([0, 1], "0.0", 0),
        ([0.0, 1.0], "0", 0.0),
        ([0.5, 1.5], "5e-1", 0.5),
        ([-1, 1], "-1", -1),
        ([False, True], "false", False),
        ([False, True], "True", True),
        (["0", "1"], "0", "0"),
        (["0", "0.0"], "0", "0"),
        (["false", "true"], "false", "false"),
    ],
)
def test_a_positive_class_is_found_by_its_value(target: list[Any], text: str, positive: object) -> None:
    last = Classes.of(target, positive=text).values[-1]

    assert (type(last), last) == (type(positive), positive)


@pytest.mark.parametrize(
    ("target", "positive", "listed"),
    [
        (["a", "b"], "c", "'a', 'b'"),
        (["a", "b", "c"], "a", "'a', 'b', 'c'"),
        (["a", "a"], "a", "'a'"),
        ([0, 1], "yes", "0, 1"),
        ([0, 1], "true", "0, 1"),
        ([False, True], "1", "False, True"),
        (["no", "Yes"], "yes", "'Yes', 'no'"),
        (["0", "1"], "1.0", "'0', '1'"),
    ],
    ids=["unknown", "three classes", "one class", "text", "boolean", "number", "other case", "number for text"],
)
def test_a_positive_class_that_can_not_be_one_is_refused(target: list[Any], positive: str, listed: str) -> None:
    with pytest.raises(InputError) as caught:
        Classes.of(target, positive=positive)

    message = str(caught.value)
    assert message == (
        f"positive_class: '{positive}': accepted: one of the target's values where it has two; it has {listed}"
    )


def test_of_many_classes_the_first_twenty_are_told() -> None:
    with pytest.raises(InputError) as caught:
        Classes.of(range(100), positive="1")

    assert str(caught.value).endswith(" 18, 19")


@pytest.mark.parametrize(
    ("values", "labels", "unknown"),
    [
        pytest.param(("no", "yes"), np.array(["yes", "maybe"]), "maybe", id="text"),
        pytest.param(("no", "yes"), np.array(["a"]), "a", id="text before all"),
        pytest.param(("no", "yes"), np.array(["z"]), "z", id="text after all"),
        pytest.param(("no", "yes"), np.array(["n"]), "n", id="part of a class"),
        pytest.param(("no", "yes"), np.array(["no", "oh"], dtype=object), "oh", id="text of a table"),
        pytest.param((0, 1), np.array([0, 2]), "2", id="number"),
        pytest.param((0, 1), np.array([0.5]), "0.5", id="fraction"),
        pytest.param((0, 1), np.array([np.nan]), "nan", id="no number"),
        pytest.param(("no", "yes"), np.array([0]), "0", id="number for text"),
        pytest.param(
            ("no", "yes"),
            np.array(["no", "yesterday"], dtype=object),
            "'yesterday'",
            id="a class and more",
        ),
        pytest.param(
            (0, 1),
            np.array([0, 1.5], dtype=object),
            "1.5",
            id="fraction of a table",
        ),
        pytest.param(
            (0, 1),
            np.array(["a"], dtype=object),
            "'a'",
            id="text for a number",
        ),
        pytest.param(
            ("no", "yes"),
            np.array([None], dtype=object),
            "None",
            id="missing",
        ),
    ],
)
def test_a_label_that_is_no_class_is_refused(values: tuple[Any, ...], labels: NDArray[Any], unknown: str) -> None:
    with pytest.raises(InputError) as caught:
        Classes(values).encode(labels)

    message = str(caught.value)
    assert message.startswith("target: ")
    assert unknown in message.partition(" is not a class of the model")[0]
    assert message.endswith(f"accepted: {values[0]!r}, {values[1]!r}")
    assert (Classes(values).encode(labels, strict=False)[-1:] == -1).all()


def test_a_prediction_that_is_no_class_is_simply_wrong() -> None:
    classes = Classes(("no", "yes"))
    labels = np.array(["yes", "maybe", "no"])

    assert classes.encode(labels, strict=False).tolist() == [1, -1, 0]
    assert Encoded(Constant("maybe"), classes).predict([[0.0]] * 2).tolist() == [-1, -1]
    assert metric_value("accuracy", Responses(classes, np.array([1, -1])), np.arange(2), np.array([1, 0])) == 0.5


def test_no_label_is_no_mistake() -> None:
    assert Classes(("no", "yes")).encode(np.array([], dtype=object)).tolist() == []


@given(st.permutations(["a", "b", "c", "d"]), st.permutations(["a", "b", "c", "d"]), st.integers(0, 4))
def test_each_class_keeps_its_column_of_scores(ours: list[str], theirs: list[str], known: int) -> None:
    theirs = theirs[:known]
    scores = np.arange(1.0, 1 + 3 * known).reshape(3, known)

    arranged = Classes(tuple(ours)).arrange(scores, theirs)

    assert arranged.shape == (3, 4)
    for column, value in enumerate(ours):
        expected = scores[:, theirs.index(value)] if value in theirs else np.zeros(3)
        assert arranged[:, column].tolist() == expected.tolist()


@pytest.mark.parametrize(("positive", "sign"), [("no", -1.0), ("yes", 1.0)])
def test_decision_values_of_two_classes_are_those_of_the_positive_one(positive: str, sign: float) -> None:
    decisions = np.array([-2.0, 0.5])

    arranged = Classes.of(["no", "yes"], positive=positive).arrange(decisions, ["no", "yes"])

    assert arranged.tolist() == (sign * decisions).tolist()


def test_decision_values_say_nothing_of_a_positive_class_that_the_model_does_not_know() -> None:
    assert Classes(("a", "b")).arrange(np.array([-2.0, 0.5]), ["a", "c"]).tolist() == [0, 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metric", "name"),
    [("f1", "probabilities"), ("precision", "decisions"), ("roc_auc", "decisions"), ("roc_auc_ovr", "probabilities")],
)
def test_a_champion_that_knows_a_class_that_is_no_more_is_measured(metric: str, name: str) -> None:
    model, rows, labels = fitted(name, "text", 4)
    left = np.isin(labels, LABELS["text"][: 3 if metric == "roc_auc_ovr" else 2])
    classes = Classes.of(labels[left])

    measured = measure(metric, Responses.of(model, rows[left], classes), classes.encode(labels[left]))

    assert 0 < measured.value < 1
    assert len(np.unique(measured.resampled)) > 1
    assert measured.rows == left.sum()


def test_a_prediction_of_a_class_that_is_no_more_is_wrong() -> None:
    truth = np.array([0, 1, 0, 1])
    responses = Responses(Classes(("a", "b")), np.array([0, 1, -1, -1]))
    assert measure("accuracy", responses, truth).value == 0.5


LABEL_METRICS: dict[str, Callable[[Any, Any], float]] = {
    "accuracy": metrics.accuracy_score,
    "balanced_accuracy": metrics.balanced_accuracy_score,
    "f1_macro": functools.partial(metrics.f1_score, average="macro"),
    "f1_weighted": functools.partial(metrics.f1_score, average="weighted"),
    "matthews_corrcoef": metrics.matthews_corrcoef,
}


@pytest.mark.parametrize("metric", LABEL_METRICS)
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("kind", "count"), [("text", 2), ("numbers", 2), ("booleans", 2), ("text", 4), ("numbers", 3)])
def test_a_score_of_labels_is_scikit_learns_own(metric: str, name: str, kind: str, count: int) -> None:
    model, rows, truth = fitted(name, kind, count)
    expected = LABEL_METRICS[metric](truth, model.predict(rows))
    positives = ["", *map(str, LABELS[kind][:2])] if count == 2 else [""]

    for positive in positives:
        classes = Classes.of(truth, positive=positive)
        for scored, asked in both(model, rows, classes):
            assert metric_value(metric, scored, asked, classes.encode(truth)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", ["f1", "precision", "recall", "jaccard"])
@pytest.mark.parametrize(("kind", "positive"), POSITIVES)
def test_a_score_of_the_positive_class_is_scikit_learns_own(metric: str, kind: str, positive: str) -> None:
    model, rows, truth = fitted("probabilities", kind, 2)
    pos_label = next((value for value in LABELS[kind][:2] if str(value) == positive), max(LABELS[kind][:2]))
    expected = getattr(metrics, f"{metric}_score")(truth, model.predict(rows), pos_label=pos_label)
    classes = Classes.of(truth, positive=positive)

    for scored, asked in both(model, rows, classes):
        assert metric_value(metric, scored, asked, classes.encode(truth)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("metric", "function"), [("roc_auc", "roc_auc_score"), ("average_precision",) * 2])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("kind", "positive"), POSITIVES)
def test_a_score_of_the_ranking_is_scikit_learns_own(
    metric: str, function: str, name: str, kind: str, positive: str
) -> None:
    model, rows, truth = fitted(name, kind, 2)
    pos_label = next((value for value in LABELS[kind][:2] if str(value) == positive), max(LABELS[kind][:2]))
    second = model.classes_[1] == pos_label
    if hasattr(model, "predict_proba"):
        ranking = model.predict_proba(rows)[:, 1 if second else 0]
    else:
        ranking = model.decision_function(rows) * (1 if second else -1)
    function = function if function.endswith("_score") else f"{function}_score"
    expected = getattr(metrics, function)(truth == pos_label, ranking)
    classes = Classes.of(truth, positive=positive)

    for scored, asked in both(model, rows, classes):
        assert metric_value(metric, scored, asked, classes.encode(truth)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["probabilities", "probabilities and decisions"])
@pytest.mark.parametrize(("kind", "count"), [("text", 2), ("booleans", 2), ("text", 4), ("numbers", 3)])
def test_a_score_of_probabilities_is_scikit_learns_own(name: str, kind: str, count: int) -> None:
    model, rows, truth = fitted(name, kind, count)
    probabilities = model.predict_proba(rows)
    expected = {"neg_log_loss": -metrics.log_loss(truth, probabilities, labels=model.classes_)}
    if count > 2:
        expected["roc_auc_ovr"] = metrics.roc_auc_score(truth, probabilities, multi_class="ovr", labels=model.classes_)

    for positive in ["", *map(str, LABELS[kind])][: 3 if count == 2 else 1]:
        classes = Classes.of(truth, positive=positive)
        for scored, asked in both(model, rows, classes):
            for metric, value in expected.items():
                assert metric_value(metric, scored, asked, classes.encode(truth)) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("metric", ["top_k_accuracy", "average_precision"])
def test_a_model_and_its_responses_score_alike(metric: str) -> None:
    rows, truth = make_classification(200, 6, n_informative=4, n_redundant=0, n_classes=4, flip_y=0.2, random_state=1)
    model = SVC(probability=True, random_state=0).fit(rows[:100], truth[:100])
    classes = Classes.of(truth)

    one, other = (
        metric_value(metric, scored, asked, truth[100:]) for scored, asked in both(model, rows[100:], classes)
    )

    assert one == other


def test_a_class_that_a_model_does_not_know_counts_against_it() -> None:
    model, rows, _ = fitted("probabilities", "text", 2)
    truth = np.array(["pear", "apple", "fig"])[np.arange(len(rows)) % 3]
    classes = Classes.of(truth)
    predicted = model.predict(rows)

    for scored, asked in both(model, rows, classes):
        assert metric_value("accuracy", scored, asked, classes.encode(truth)) == np.mean(predicted == truth)
    assert np.array_equal(
        Responses.of(model, rows, classes).predict_proba(np.arange(3))[:, [0, 2]], model.predict_proba(rows[:3])
    )


@pytest.mark.parametrize(
    ("name", "probabilities", "decisions"),
    [
        ("probabilities and decisions", True, False),
        ("probabilities", True, False),
        ("decisions", False, True),
    ],
)
def test_scorers_see_decision_values_only_where_there_are_no_probabilities(
    name: str, probabilities: bool, decisions: bool
) -> None:
    model, rows, truth = fitted(name, "text", 2)

    for scored, _ in both(model, rows, Classes.of(truth)):
        assert hasattr(scored, "predict_proba") == probabilities
        assert hasattr(scored, "decision_function") == decisions


def test_a_model_may_give_labels_only() -> None:
    classes = Classes(("no", "yes"))
    asked = Responses.of(Constant("yes"), [[0.0]] * 3, classes)

    assert asked.labels.tolist() == [1, 1, 1]
    assert not hasattr(asked, "predict_proba")
    assert not hasattr(asked, "decision_function")


def test_responses_answer_for_the_rows_that_are_asked_for() -> None:
    rows = np.array([2, 0, 2])
    asked = Responses(
        Classes((0, 1)),
        np.array([0, 1, 1]),
        probabilities=np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]),
        decisions=np.array([-1.0, 0.2, 0.7]),
    )

    assert asked.predict(rows).tolist() == [1, 0, 1]
    assert asked.predict_proba(rows).tolist() == [[0.2, 0.8], [0.9, 0.1], [0.2, 0.8]]
    assert asked.decision_function(rows).tolist() == [0.7, -1.0, 0.7]


@pytest.mark.parametrize(
    ("metric", "name", "count"),
    [("f1", "probabilities", 3), ("roc_auc", "probabilities", 3), ("neg_log_loss", "decisions", 2)],
    ids=["two classes only", "ranking of two classes only", "probabilities only"],
)
def test_a_metric_that_does_not_fit_is_refused_by_name(metric: str, name: str, count: int) -> None:
    model, rows, truth = fitted(name, "text", count)
    classes = Classes.of(truth)

    for scored, asked in both(model, rows, classes):
        with pytest.raises(InputError) as caught:
            metric_value(metric, scored, asked, classes.encode(truth))
        message = str(caught.value)
        assert message.startswith(f"metric: '{metric}' does not fit {count} classes and this estimator (")
        assert message.endswith("accepted: one that does, such as accuracy or f1_macro")
        assert len(message.splitlines()) == 1


def test_a_metric_that_is_not_defined_on_the_rows_is_refused() -> None:
    of_one_class = Responses(Classes(("a", "b")), np.array([0, 0]), np.array([[0.6, 0.4], [0.7, 0.3]]))
    with pytest.raises(InputError, match=r"^metric: 'roc_auc' is nan on these rows; accepted: "):
        metric_value("roc_auc", of_one_class, np.arange(2), np.array([0, 0]))


def test_a_class_without_predictions_warns_nobody() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = metric_value("f1_macro", responses([0, 0]), np.arange(2), np.array([0, 1]))

    assert value == pytest.approx(1 / 3)


@pytest.mark.parametrize("name", ["accuracy", "f1", "f1_macro", "roc_auc", "roc_auc_ovr", "neg_log_loss"])
def test_a_metric_of_classes_is_accepted(name: str) -> None:
    assert TypeAdapter(Metric).validate_python(name) == name


@pytest.mark.parametrize("name", ["r2", "neg_mean_squared_error", "neg_max_error", "adjusted_rand_score", "rand_score"])
def test_a_metric_of_something_else_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="is for regression or clustering; accepted: "):
        TypeAdapter(Metric).validate_python(name)


@pytest.mark.parametrize(("name", "close"), [("acuracy", "accuracy"), ("f1_makro", "f1_macro"), ("auc", "roc_auc")])
def test_an_unknown_metric_is_refused_with_close_ones(name: str, close: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Metric).validate_python(name)

    message = caught.value.errors()[0]["msg"]
    assert "is not a scikit-learn scorer; accepted: " in message
    assert close in message.partition("accepted: ")[2].split(", ")


def test_the_bootstrap_is_deterministic() -> None:
    truth = np.array([0, 0, 0, 1, 1])
    answers = responses([0, 1, 0, 1, 0])

    once, again = bootstrap("accuracy", answers, truth), bootstrap("accuracy", answers, truth)

    assert len(once) == RESAMPLES == 1000
    assert np.array_equal(once, again)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=3, max_size=60).filter(lambda truth: len(set(truth)) > 1))
def test_the_bootstrap_keeps_the_proportions_of_the_classes(truth: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_bootstrap, "RESAMPLES", 25)
        for value in set(truth):
            always = responses([value] * len(truth), classes=3)
            # What always answers one class is right as often as there are rows of it.
            expected = [truth.count(value) / len(truth)] * 25
            assert bootstrap("accuracy", always, np.array(truth)).tolist() == pytest.approx(expected)


def test_the_bootstrap_draws_with_replacement_within_each_class() -> None:
    random = np.random.default_rng(0)
    truth = np.repeat([0, 1], [60, 140])
    right = random.random(200) < np.where(truth, 0.9, 0.6)
    per_class = [right[truth == value] for value in (0, 1)]
    spread = np.sqrt(sum(len(r) * r.mean() * (1 - r.mean()) for r in per_class)) / 200

    scores = bootstrap("accuracy", responses(np.where(right, truth, 1 - truth).tolist()), truth)

    assert scores.mean() == pytest.approx(right.mean(), abs=4 * spread / np.sqrt(RESAMPLES))
    assert scores.std() == pytest.approx(spread, rel=0.1)


def test_models_are_resampled_alike() -> None:
    truth = np.arange(40) % 2
    labels = np.where(np.arange(40) < 10, 1 - truth, truth)
    better = labels.copy()
    better[0] = truth[0]

    gain = 40 * (
        bootstrap("accuracy", responses(better.tolist()), truth)
        - bootstrap("accuracy", responses(labels.tolist()), truth)
    )

    # In no resample is the model that is right on one more row the worse one: they differ by how often it is drawn.
    assert gain.min() == pytest.approx(0)
    assert gain == pytest.approx(gain.round())
    assert gain.mean() == pytest.approx(1, abs=0.15)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=4, max_size=40).filter(
        lambda rows: len({truth for truth, _ in rows}) == 2
    ),
    st.sampled_from(["accuracy", "f1", "f1_macro"]),
)
def test_identical_responses_differ_by_what_so_few_rows_can_hide(rows: list[tuple[int, int]], metric: str) -> None:
    truth = np.array([truth for truth, _ in rows])
    measured = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_bootstrap, "RESAMPLES", 25)
        for _ in range(2):
            answers = responses([label for _, label in rows])
            measured.append(measure(metric, answers, truth))

    difference = Difference.between(*measured, significance=0.05)

    assert difference.value == 0
    assert difference.high == -difference.low > 0
    assert difference.verdict == "indistinguishable"


def test_of_many_rows_the_bootstrap_takes_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_bootstrap, "MOST_ROWS", 6)
    first = [0, 1, 0, 1, 0, 1]
    labels = [0, 1, 1, 1, 0, 0]

    of_six = bootstrap("accuracy", responses(labels), np.array(first))
    of_nine = bootstrap("accuracy", responses([*labels, 0, 0, 0]), np.array([*first, 1, 1, 2]))

    assert np.array_equal(of_six, of_nine)


def test_the_lead_of_a_class_is_that_of_its_f1_and_certain_only_with_enough_rows() -> None:
    # Of the second class one row, of the third forty, all of which the first model misses.
    truth = np.array([0] * 60 + [1] + [2] * 40)
    other = truth.copy()
    other[:3] = -1
    mine = np.array([0] * 60 + [0] + [0] * 40)
    mine[3] = 2
    leads = f1_leads(truth, mine, other, classes=3, significance=0.05)
    mine_by_class, other_by_class = (by_class(Responses(Classes((0, 1, 2)), labels), truth) for labels in (mine, other))
    assert [lead.value for lead in leads] == pytest.approx(
        [mine_by_class[name].f1 - other_by_class[name].f1 for name in mine_by_class]
    )
    assert [lead.value for lead in leads[1:]] == [-1, -1]
    assert [lead.verdict for lead in leads] == ["worse", "indistinguishable", "worse"]
    turned = f1_leads(truth, other, mine, classes=3, significance=0.05)
    assert [lead.verdict for lead in turned] == ["better", "indistinguishable", "better"]
    assert leads == f1_leads(truth, mine, other, classes=3, significance=0.05)


def test_the_significance_is_shared_among_the_classes() -> None:
    truth = np.array([0, 1] * 50)
    mine, other = np.where(np.arange(100) < 8, 1 - truth, truth), np.where(np.arange(100) < 2, 1 - truth, truth)
    two, many = (f1_leads(truth, mine, other, classes=classes, significance=0.05)[0] for classes in (2, 50))
    assert many.low < two.low <= two.value <= two.high < many.high


def test_of_equal_models_hardly_ever_a_class_leads() -> None:
    told = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        truth = random.integers(0, 5, 400)
        mine, other = (np.where(random.random(400) < 0.8, truth, random.integers(0, 5, 400)) for _ in range(2))
        leads = f1_leads(truth, mine, other, classes=5, significance=0.05)
        assert max(abs(lead.value) for lead in leads) > 0.01
        told += any(lead.verdict != "indistinguishable" for lead in leads)
    assert told <= 2
