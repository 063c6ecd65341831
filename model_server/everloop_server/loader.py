"""Loads a model and predicts with it; the only place that knows model formats.

The runner scores the reference through the same code (`everloop_server.score`), so a model that
cannot be served fails when it is packaged, not when it is deployed.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import joblib
import numpy as np
import pandas as pd
import sklearn
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.pipeline import Pipeline

from everloop.contract import PREDICT, PREDICT_PROBA
from everloop_server.errors import ModelNotLoadableError
from everloop_server.signature import BOOL, BYTES, FP64, INT64, Array, Tensor

SKLEARN: Final = "sklearn"
SKLEARN_FILE: Final = "model.joblib"
# Classifiers whose predict is the class of the largest predict_proba. Not all are like that: an SVC
# and a tuned threshold decide otherwise, so for any other class both methods are called.
# By name, since importing them all takes a second that most models do not need.
MOST_PROBABLE: Final = frozenset(
    {
        "DecisionTreeClassifier",
        "ExtraTreesClassifier",
        "GradientBoostingClassifier",
        "HistGradientBoostingClassifier",
        "LogisticRegression",
        "RandomForestClassifier",
    }
)

Outputs = dict[str, Array]


@dataclass(frozen=True)
class Watched:
    """The output whose distribution is monitored."""

    name: str
    numeric: bool  # else its values are categories


class Predictor(Protocol):
    """A loaded model."""

    @property
    def feature_names(self) -> list[str] | None:
        """Columns it was trained on, if it knows them."""

    @property
    def watched(self) -> Watched:
        """Which output is monitored."""

    def predict(self, rows: pd.DataFrame) -> Outputs:
        """Outputs by name, one row each."""

    def watched_values(self, outputs: Outputs) -> Array:
        """The monitored value of each row."""


def load(folder: Path, format_: str = SKLEARN) -> Predictor:
    """Load the model in `folder`. Raises ModelNotLoadableError, saying what to do."""
    if format_ != SKLEARN:
        raise ModelNotLoadableError(f"format {format_!r} is not supported; write format: {SKLEARN}")
    path = folder / SKLEARN_FILE
    if not path.is_file():
        found = ", ".join(sorted(item.name for item in folder.glob("*"))[:5]) or "nothing"
        raise ModelNotLoadableError(
            f"format {SKLEARN} needs the file {SKLEARN_FILE}, written by joblib.dump; "
            f"there is {found}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            model = joblib.load(path)
    except InconsistentVersionWarning as error:
        raise ModelNotLoadableError(
            f"the model was trained with scikit-learn {error.original_sklearn_version}, but the "
            f"model server has {sklearn.__version__}: use that version in the training step's image"
        ) from error
    except ModuleNotFoundError as error:
        raise ModelNotLoadableError(
            f"the model refers to the module {error.name!r}, which the model server does not have: "
            "use classes of scikit-learn, or a runtime image that contains the module"
        ) from error
    except Exception as error:
        raise ModelNotLoadableError(
            f"{SKLEARN_FILE} cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    return SklearnPredictor(model)


class SklearnPredictor:
    """A scikit-learn estimator or pipeline.

    A pipeline's preprocessing costs more than its model in small requests, so it runs once for both
    outputs.
    """

    def __init__(self, model: Any) -> None:
        if not hasattr(model, "predict"):
            raise ModelNotLoadableError(
                f"{SKLEARN_FILE} holds a {type(model).__name__}, which has no predict: "
                "dump a fitted estimator or pipeline"
            )
        self._model = model
        self._preprocess: Any = None
        self._final: Any = model
        if isinstance(model, Pipeline) and len(model) > 1:
            self._preprocess, self._final = model[:-1], model[-1]
        self._classes: Array | None = (
            np.asarray(model.classes_) if hasattr(model, "predict_proba") else None
        )
        if self._classes is not None and (self._classes.ndim != 1 or self._classes.dtype == object):
            self._classes = _plain_classes(model.classes_)
        kind = type(self._final)
        self._most_probable = (
            kind.__module__.startswith("sklearn.") and kind.__name__ in MOST_PROBABLE
        )

    @property
    def feature_names(self) -> list[str] | None:
        names = getattr(self._model, "feature_names_in_", None)
        return None if names is None else [str(name) for name in names]

    @property
    def watched(self) -> Watched:
        """Binary classifiers: the probability of the second class; else what is predicted."""
        if self._classes is not None and len(self._classes) == 2:
            return Watched(PREDICT_PROBA, numeric=True)
        return Watched(PREDICT, numeric=not hasattr(self._model, "classes_"))

    def predict(self, rows: pd.DataFrame) -> Outputs:
        inputs = rows if self._preprocess is None else self._preprocess.transform(rows)
        if self._classes is None:
            return {PREDICT: np.asarray(self._final.predict(inputs))}
        probability = np.asarray(self._final.predict_proba(inputs), dtype=np.float64)
        if self._most_probable:
            predicted = self._classes[probability.argmax(axis=1)]
        else:
            predicted = np.asarray(self._final.predict(inputs))
        return {PREDICT: predicted, PREDICT_PROBA: probability}

    def watched_values(self, outputs: Outputs) -> Array:
        values = outputs[self.watched.name]
        return values[:, 1] if values.ndim == 2 else values


def tensors(outputs: Outputs) -> tuple[Tensor, ...]:
    """V2 metadata of outputs. Raises ModelNotLoadableError for what V2 has no type for."""
    return tuple(
        Tensor(name, _datatype(name, values), (-1, values.shape[1] if values.ndim == 2 else 1))
        for name, values in outputs.items()
    )


def _datatype(name: str, values: Array) -> str:
    kind = values.dtype.kind
    if values.ndim > 2 or kind not in "biufOU":
        raise ModelNotLoadableError(
            f"output {name} has a type that V2 cannot carry: {values.dtype}"
        )
    return {"b": BOOL, "i": INT64, "u": INT64, "f": FP64}.get(kind, BYTES)


def _plain_classes(classes: Any) -> Array:
    """Classes of one output; texts stay objects."""
    if isinstance(classes, list):
        raise ModelNotLoadableError(
            "the model predicts several outputs at once, which cannot be served: "
            "train one model for each"
        )
    array: Array = np.asarray(classes, dtype=object)
    return array
