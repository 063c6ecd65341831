"""Loading and predicting: served is what the model says; what can't be served says why."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from training_pod import INPUTS, dump, fit, make_rows

from everloop_server.errors import ModelNotLoadableError
from everloop_server.loader import load, tensors
from everloop_server.score import as_served, main, served_columns
from everloop_server.signature import frame

ROWS = make_rows(days=4)
NUMBERS = ROWS[["hour"]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "model"


def loaded(model: Any, folder: Path) -> Any:
    dump(model, folder)
    return load(folder)


def test_a_pipeline_says_what_it_says_by_itself(folder: Path) -> None:
    model = fit(ROWS)
    predictor = loaded(model, folder)
    outputs = predictor.predict(ROWS[INPUTS])
    assert (outputs["predict"] == model.predict(ROWS[INPUTS])).all()
    assert np.array_equal(outputs["predict_proba"], model.predict_proba(ROWS[INPUTS]))
    assert predictor.feature_names == INPUTS
    assert predictor.watched.name == "predict_proba"
    assert np.array_equal(predictor.watched_values(outputs), outputs["predict_proba"][:, 1])


@pytest.mark.parametrize(
    "model",
    [
        HistGradientBoostingClassifier(max_iter=5),
        RandomForestClassifier(n_estimators=5, random_state=0),
        make_pipeline(StandardScaler(), LogisticRegression()),
        FixedThresholdClassifier(LogisticRegression(), threshold=0.2),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("label", ["numbers", "texts", "truth values"])
def test_predict_is_the_models_own(folder: Path, model: Any, label: str) -> None:
    """Also of a classifier whose predict is not the most probable class."""
    late = ROWS["late"]
    labels = {
        "numbers": late,
        "texts": late.map({0: "on time", 1: "late"}),
        "truth values": late > 0,
    }
    fitted = model.fit(NUMBERS, labels[label])
    outputs = loaded(fitted, folder).predict(NUMBERS)
    assert (outputs["predict"] == fitted.predict(NUMBERS)).all()
    kind = {"numbers": "INT64", "texts": "BYTES", "truth values": "BOOL"}[label]
    assert [tensor.datatype for tensor in tensors(outputs)] == [kind, "FP64"]


def test_regression_and_many_classes_are_watched_by_what_is_predicted(folder: Path) -> None:
    regression = loaded(Ridge().fit(NUMBERS, ROWS["hour"]), folder)
    assert (regression.watched.name, regression.watched.numeric) == ("predict", True)
    assert list(regression.predict(NUMBERS)) == ["predict"]
    three = loaded(LogisticRegression().fit(NUMBERS, ROWS["hour"] % 3), folder)
    assert (three.watched.name, three.watched.numeric) == ("predict", False)


def test_several_outputs_are_refused(folder: Path) -> None:
    both = np.column_stack([ROWS["late"], ROWS["late"]])
    model = MultiOutputClassifier(LogisticRegression()).fit(NUMBERS, both)
    with pytest.raises(ModelNotLoadableError, match="several outputs"):
        loaded(model, folder)


def test_nothing_there(folder: Path) -> None:
    folder.mkdir()
    (folder / "model.pkl").write_bytes(b"x")
    with pytest.raises(ModelNotLoadableError, match=r"model\.joblib.*there is model\.pkl"):
        load(folder)


def test_no_model(folder: Path) -> None:
    with pytest.raises(ModelNotLoadableError, match="dict, which has no predict"):
        loaded({"weights": [1]}, folder)


def test_broken_bytes(folder: Path) -> None:
    dump(DummyRegressor().fit([[1]], [1]), folder)
    (folder / "model.joblib").write_bytes(b"broken")
    with pytest.raises(ModelNotLoadableError, match="cannot be loaded"):
        load(folder)


def test_another_scikit_learn(folder: Path) -> None:
    """Its version is in the pickle; one digit of it is changed here."""
    dump(DummyRegressor().fit([[1]], [1]), folder)
    ours = sklearn.__version__
    other = ours[:-1] + str((int(ours[-1]) + 1) % 10)
    content = (folder / "model.joblib").read_bytes()
    (folder / "model.joblib").write_bytes(content.replace(ours.encode(), other.encode()))
    with pytest.raises(ModelNotLoadableError, match=f"{other}.*{ours}"):
        load(folder)


def test_a_module_that_the_server_does_not_have(folder: Path) -> None:
    folder.mkdir()
    script = (
        "import sys, types, joblib; m = types.ModuleType('mycode'); sys.modules['mycode'] = m\n"
        "class Model:\n    __module__ = 'mycode'\n"
        f"m.Model = Model; joblib.dump(Model(), {str(folder / 'model.joblib')!r})"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    with pytest.raises(ModelNotLoadableError, match="'mycode'"):
        load(folder)


def test_an_unknown_format(folder: Path) -> None:
    with pytest.raises(ModelNotLoadableError, match="write format: sklearn"):
        load(folder, "onnx")


def test_scoring_writes_scores_and_signature(tmp_path: Path, folder: Path) -> None:
    model = fit(ROWS)
    dump(model, folder)
    reference = tmp_path / "reference.parquet"
    ROWS[INPUTS].assign(time=ROWS["time"], held_out=True).to_parquet(reference)
    scores, described = tmp_path / "scores.parquet", tmp_path / "signature.json"
    arguments = ["--model", str(folder), "--input", str(reference)]
    assert main([*arguments, "--output", str(scores), "--signature-out", str(described)]) == 0
    made = pd.read_parquet(scores)["predict_proba"]
    assert np.allclose(made, model.predict_proba(ROWS[INPUTS])[:, 1])
    assert json.loads(described.read_text())["watched"] == {
        "name": "predict_proba",
        "numeric": True,
    }


def test_a_model_that_fails_on_its_reference(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_pipeline(make_column_transformer((OneHotEncoder(), ["carrier"])), Ridge())
    dump(model.fit(ROWS[["carrier"]], ROWS["late"]), folder)
    reference = tmp_path / "reference.parquet"
    pd.DataFrame({"carrier": ["XX"]}).to_parquet(reference)
    out = ["--output", str(tmp_path / "s"), "--signature-out", str(tmp_path / "t")]
    assert main(["--model", str(folder), "--input", str(reference), *out]) == 3
    said = json.loads(capsys.readouterr().err.strip().splitlines()[-1])
    assert said["reason"] == "ModelNotLoadable"
    assert "XX" in said["message"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["carrier", "gate"], "'gate', which is not in the reference"),
        (["time"], "'time', which has a meaning"),
    ],
)
def test_columns_that_do_not_fit_the_model(names: list[str], said: str) -> None:
    with pytest.raises(ModelNotLoadableError, match=said):
        served_columns(ROWS, names)


@pytest.mark.parametrize(
    ("column", "datatype"),
    [
        (pd.Series([1, 2]), "INT64"),
        (pd.Series([1, None], dtype="Int64"), "INT64"),
        (pd.Series([1.5, None]), "FP64"),
        (pd.Series(["a", None]), "BYTES"),
        (pd.Series(["a", "b"], dtype="category"), "BYTES"),
        (pd.Series([True, False]), "BOOL"),
        (pd.Series([True, None], dtype="boolean"), "BOOL"),
        (pd.Series([True, None], dtype=object), "BOOL"),
    ],
)
def test_columns_as_a_request_carries_them(column: pd.Series, datatype: str) -> None:
    values, found = as_served(column)
    assert found == datatype
    missing = frame({"x": values})["x"].isna()
    assert missing.tolist() == column.isna().tolist()


def test_a_type_no_request_can_carry() -> None:
    with pytest.raises(ModelNotLoadableError, match=r"'time'.*datetime64"):
        as_served(ROWS["time"])
