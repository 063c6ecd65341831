"""Building blocks of all kinds: the base model, bounded scalar types, metadata, validation rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel


class Rule(NamedTuple):
    """A CEL validation rule of the CRD; `message` says what to write instead."""

    rule: str
    message: str


class Model(BaseModel):
    """Base of every typed piece of a resource: camelCase outside, frozen, unknown fields ignored.

    Unknown fields are ignored because a newer CRD may have stored them; the API server prunes and
    rejects what users may not write.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True
    )

    rules: ClassVar[tuple[Rule, ...]] = ()  # CEL rules on this object
    immutable: ClassVar[
        tuple[str, ...]
    ] = ()  # fields (camelCase) that can't be added, changed, removed

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, camelCase, without fields that are None or equal to their default of None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def cut(most: int) -> BeforeValidator:
    """Of a text only the first `most` letters.

    For what status says in words of others (a step's last lines, an error of Prometheus, somebody's
    record): a decision may not fail, nor be forgotten, because of many words.
    """
    return BeforeValidator(lambda text: text[:most] if isinstance(text, str) else text)


def first_problem(error: ValidationError, *inside: str) -> str:
    """What is wrong first, and where: a path that begins with `inside`."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, (*inside, *first['loc'])))}: {first['msg']}"


# --- bounded scalars (unbounded ones make CEL too costly for the API server) ----------------------
DNS_LABEL = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
Name40 = Annotated[str, Field(min_length=1, max_length=40, pattern=DNS_LABEL)]
Name46 = Annotated[str, Field(min_length=1, max_length=46, pattern=DNS_LABEL)]
Name52 = Annotated[str, Field(min_length=1, max_length=52, pattern=DNS_LABEL)]
ObjectName = Annotated[str, Field(min_length=1, max_length=253)]
IDENTIFIER = r"^[A-Za-z_][A-Za-z0-9_.-]*$"
Identifier = Annotated[str, Field(min_length=1, max_length=63, pattern=IDENTIFIER)]
Text = Annotated[str, Field(max_length=1024)]
LongText = Annotated[str, Field(max_length=32768)]
# What status tells, and cuts.
Word = Annotated[str, cut(128), Field(max_length=128)]
Told = Annotated[str, cut(1024), Field(max_length=1024)]
LongTold = Annotated[str, cut(32768), Field(max_length=32768)]
Uri = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[a-z][a-z0-9+.-]*://.+")]
Digest = Annotated[str, Field(max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")]
# The exponent is bounded, so that no number is infinite.
Number = Annotated[
    str,
    Field(
        min_length=1,
        max_length=32,
        pattern=r"^-?[0-9]+(\.[0-9]+)?([eE](\+?[01]?[0-9]{1,2}|-[0-9]{1,3}))?$",
    ),
]
# The digits are bounded, so that no moment is beyond the calendar, and the longest (164 years) is one
# that Prometheus and Go can hold (292 years).
Duration = Annotated[
    str,
    Field(
        min_length=2,
        max_length=32,
        pattern=r"^([0-9]{1,9}(ms|s)|[0-9]{1,6}m|[0-9]{1,5}h|[0-9]{1,4}d|[0-9]{1,3}w)+$",
    ),
]
# A Duration above 0: windows and steps.
Span = Annotated[
    str,
    Field(
        min_length=2,
        max_length=32,
        pattern=r"^([1-9][0-9]{0,8}(ms|s)|[1-9][0-9]{0,5}m|[1-9][0-9]{0,4}h|[1-9][0-9]{0,3}d|[1-9][0-9]{0,2}w)+$",
    ),
]
# An amount as Kubernetes reads it: 500m, 2, 1.5Gi; a whole number may be written as a number. None
# is below 0: pods would not be made.
Quantity = Annotated[
    str | int,
    Field(
        json_schema_extra={
            "minimum": 0,
            "maxLength": 32,
            "pattern": r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$",
        }
    ),
]
Time = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
Image = Annotated[str, Field(min_length=1, max_length=512)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
# An object whose fields Kubernetes itself validates when the pod is made (affinity, volumes …).
Opaque = Annotated[
    dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
]


# A null is kept: in a security context it removes a field.
ANYTHING = {"x-kubernetes-preserve-unknown-fields": True, "nullable": True}


def keyed(described: Mapping[str, str], *rules: Rule, others: Iterable[str]) -> dict[str, Any]:
    """`json_schema_extra` of an Opaque of which we read texts: they must be there, and are bounded.

    `described` has a description for each of them, by name. `others` are names of what Kubernetes has
    there besides: of fields that no schema names its `==` does not see that one was exchanged for
    another, so that what is immutable could be changed.
    """
    text = {"type": "string", "minLength": 1, "maxLength": 253}
    named = {name: {**text, "description": words} for name, words in described.items()}
    return {
        "x-kubernetes-preserve-unknown-fields": True,
        "properties": {**named, **{name: dict(ANYTHING) for name in others}},
        "required": list(described),
        "x-kubernetes-validations": [rule._asdict() for rule in rules],
    }


def list_map(key: str) -> dict[str, Any]:
    """`json_schema_extra` of a list in which each key may be there once."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


def good_keys(field: str) -> Rule:
    """A rule for a map of Identifier: Kubernetes has no patterns for keys."""
    return Rule(
        f"!has(self.{field}) || self.{field}.all(key, key.size() <= 63 "
        f"&& key.matches('{IDENTIFIER}'))",
        f"names in {field} are letters, digits, _, . and -, at most 63, and do not begin with a digit",
    )


class Metadata(Model):
    """The part of metav1.ObjectMeta that we read."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: list[str] = Field(default_factory=list)
    owner_references: list[dict[str, Any]] = Field(default_factory=list)


class Resource(Model):
    """Base of the kinds. Class attributes say how the CRD names and prints it."""

    kind_name: ClassVar[str]
    plural: ClassVar[str]
    short_name: ClassVar[str]
    name_limit: ClassVar[int] = 40  # longest metadata.name, so that children's names fit
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = ()  # (title, type, JSON path)

    api_version: str = "everloop.dev/v1alpha1"
    kind: str = ""
    metadata: Metadata
