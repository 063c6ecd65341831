"""The MLServer runtime: one V2 request in, checked outputs out, rows counted into the bins."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from mlserver import MLModel
from mlserver.errors import MLServerError
from mlserver.settings import ModelSettings
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    ResponseOutput,
    TensorData,
)

from everloop_server.batching import MAX_BATCH_ROWS, Batcher
from everloop_server.errors import ModelNotLoadableError
from everloop_server.loader import Outputs, Predictor, tensors
from everloop_server.metrics import Metrics
from everloop_server.signature import (
    UNKNOWN_OUTPUT,
    Columns,
    Given,
    InvalidInputError,
    Signature,
    Tensor,
    decode,
    frame,
)


@dataclass
class Outcome:
    """Why the request at hand was refused; the gate in front of MLServer counts it."""

    reason: str = ""


OUTCOME: ContextVar[Outcome | None] = ContextVar("outcome", default=None)


class EverloopModel(MLModel):  # type: ignore[misc]  # mlserver ships no types
    """Serves one loaded model."""

    def __init__(
        self,
        settings: ModelSettings,
        predictor: Predictor,
        signature: Signature | None,
        metrics: Metrics,
    ) -> None:
        super().__init__(settings)
        self._predictor = predictor
        self._signature = signature
        self._metrics = metrics
        # Without a signature two requests may have different columns, so they are not joined.
        self._batcher = Batcher(self._answer, MAX_BATCH_ROWS if signature else 1)

    async def load(self) -> bool:
        self._batcher.start()
        return True

    async def unload(self) -> bool:
        await self._batcher.stop()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        try:
            wanted = self._wanted(payload)
            columns = decode(_given(payload), self._signature)
        except InvalidInputError as error:
            outcome = OUTCOME.get()
            if outcome is not None:
                outcome.reason = error.reason
            raise MLServerError(str(error)) from error
        try:
            outputs = await self._batcher.submit(columns)
        except Exception as error:
            raise MLServerError(
                f"the model failed on this request: {type(error).__name__}: {str(error)[:300]}", 500
            ) from error
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            outputs=[
                _output(tensor, outputs) for tensor in tensors(outputs) if tensor.name in wanted
            ],
        )

    def _answer(self, columns: Columns) -> Outputs:
        """Predict many rows; runs in the batcher's thread."""
        outputs = self._predictor.predict(frame(columns))
        self._metrics.count(columns, self._predictor.watched_values(outputs))
        return outputs

    def _wanted(self, payload: InferenceRequest) -> frozenset[str]:
        known = [tensor.name for tensor in self._signature.outputs] if self._signature else None
        if not payload.outputs:
            return _Everything() if known is None else frozenset(known)
        asked = [output.name for output in payload.outputs]
        for name in asked:
            if known is not None and name not in known:
                raise InvalidInputError(
                    UNKNOWN_OUTPUT, f"the model has no output {name!r}; it gives {', '.join(known)}"
                )
        return frozenset(asked)


class _Everything(frozenset[str]):
    """All outputs, for a model whose outputs are not known beforehand."""

    def __contains__(self, name: object) -> bool:
        return True


def check_profile(metrics: Metrics, signature: Signature | None) -> None:
    """Raise ModelNotLoadableError when the profile has inputs that the signature does not have."""
    if metrics.bins is None:
        return
    names = {tensor.name for tensor in signature.inputs} if signature else set()
    unknown = [name for name in metrics.bins.input_names if name not in names]
    if unknown:
        raise ModelNotLoadableError(
            f"the profile has the input {unknown[0]!r}, the signature has not: "
            "they belong to different versions"
        )


def _given(payload: InferenceRequest) -> list[Given]:
    return [
        Given(item.name, str(item.datatype), item.shape, item.data.root) for item in payload.inputs
    ]


def _output(tensor: Tensor, outputs: Outputs) -> ResponseOutput:
    values: Any = outputs[tensor.name]
    return ResponseOutput(
        name=tensor.name,
        shape=[len(values), tensor.shape[1]],
        datatype=tensor.datatype,
        data=TensorData(values.ravel().tolist()),
    )
