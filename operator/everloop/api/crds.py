"""Writes CRDs, the chart's copies and docs/reference.md: `python -m everloop.api.crds`.

A pydantic JSON schema becomes a structural schema as Kubernetes wants it: references resolved,
nullable unions folded into "not required", every object bounded, CEL rules attached. With --check
nothing is written and the exit code says whether the files are up to date.
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
import sys
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, TypeAdapter

from everloop import contract
from everloop.api import reference
from everloop.api.base import ANYTHING, DNS_LABEL, Model, Resource, Rule
from everloop.api.conditions import UNSEEN
from everloop.api.deployment import Deployment
from everloop.api.experiment import Experiment
from everloop.api.modelversion import ModelVersion
from everloop.api.monitor import Monitor
from everloop.api.trainingrun import TrainingRun

KINDS: tuple[type[Resource], ...] = (Experiment, TrainingRun, ModelVersion, Deployment, Monitor)
HEADER = "# Generated from operator/everloop/api by `make crds`. Do not edit.\n"
DROPPED = ("title", "propertyNames", "const", "$defs")  # not part of a structural schema
Schema = dict[str, Any]


def structural(model: type[BaseModel]) -> Schema:
    """The structural schema of a model, with the CEL rules of it and of all models inside."""
    schema = model.model_json_schema(by_alias=True)
    models = {item.__name__: item for item in _models()}
    return _convert(schema, schema.get("$defs", {}), models, model.__name__)


def _models() -> set[type[Model]]:
    """All subclasses of Model; names are unique, so a definition's name finds its class."""
    found: set[type[Model]] = set()
    todo: list[type[Model]] = [Model]
    while todo:
        for child in todo.pop().__subclasses__():
            if child not in found:
                found.add(child)
                todo.append(child)
    return found


def _convert(
    node: Schema, definitions: Schema, models: dict[str, type[Model]], name: str | None = None
) -> Schema:
    node = dict(node)
    if "$ref" in node:
        name = node.pop("$ref").rsplit("/", 1)[1]
        return _convert({**definitions[name], **node}, definitions, models, name)
    if node.get("default", ...) is None:
        del node["default"]
    if "anyOf" in node:
        options = [item for item in node.pop("anyOf") if item.get("type") != "null"]
        if len(options) > 1:  # the only union in our types: a quantity
            return {**_kept(node), "x-kubernetes-int-or-string": True}
        return _convert({**options[0], **node}, definitions, models, name)
    if "patternProperties" in node:  # Kubernetes has no patterns for keys
        (node["additionalProperties"],) = node.pop("patternProperties").values()
    if "const" in node:
        node["enum"] = [node["const"]]
    _convert_members(node, definitions, models, name)
    if "items" in node:
        node["items"] = _convert(node["items"], definitions, models)
        if (
            "type" in (node["items"].get("required") or [])
            and name is None
            and _is_conditions(node)
        ):
            node["x-kubernetes-list-type"] = "map"
            node["x-kubernetes-list-map-keys"] = ["type"]
    if name in models and models[name].rules and not issubclass(models[name], Resource):
        node["x-kubernetes-validations"] = [_rule(rule) for rule in models[name].rules]
    return _kept(node)


def _convert_members(
    node: Schema, definitions: Schema, models: dict[str, type[Model]], name: str | None
) -> None:
    """The members of an object, in place."""
    if "properties" in node:
        node["properties"] = {
            key: _convert(value, definitions, models) for key, value in node["properties"].items()
        }
        if name in models:
            _add_made_defaults(models[name], node["properties"])
    if node.get("x-kubernetes-preserve-unknown-fields") and "type" in node:
        if "properties" in node:
            node.pop("additionalProperties", None)
        else:
            # A map of anything, and not an object of unknown fields: of these Kubernetes' `==` does not
            # see that one was exchanged for another, so that what is immutable could be changed.
            del node["x-kubernetes-preserve-unknown-fields"]
            node["additionalProperties"] = dict(ANYTHING)
    elif isinstance(node.get("additionalProperties"), dict):
        node["additionalProperties"] = _convert(node["additionalProperties"], definitions, models)


def _add_made_defaults(model: type[Model], properties: Schema) -> None:
    """Defaults that are made by a factory (lists, objects), which pydantic leaves out of schemas."""
    for field_name, field in model.model_fields.items():
        if field.default_factory is not None:
            made = cast(Any, field.default_factory)()
            key = field.alias or field_name
            properties[key]["default"] = TypeAdapter[Any](cast(Any, field.annotation)).dump_python(
                made, mode="json", by_alias=True, exclude_none=True
            )


def _without_defaults(node: Any) -> Any:
    """A schema without defaults: a status holds what the operator wrote and nothing else."""
    if isinstance(node, dict):
        return {
            key: _without_defaults(value)
            for key, value in node.items()
            if key != "default" or (isinstance(value, dict) and "type" in value)
        }
    if isinstance(node, list):
        return [_without_defaults(item) for item in node]
    return node


def _is_conditions(node: Schema) -> bool:
    return "lastTransitionTime" in node["items"].get("properties", {})


def _kept(node: Schema) -> Schema:
    return {key: value for key, value in node.items() if key not in DROPPED}


def _rule(rule: Rule) -> dict[str, str]:
    return {"rule": rule.rule, "message": rule.message}


def _immutability(spec: type[Model], schema: Schema) -> list[dict[str, str]]:
    """One rule for all immutable fields: each write of a status evaluates every rule of its object.

    Presence and equality per field: `self == oldSelf` on a property lets it come and go.
    """
    if not spec.immutable:
        return []
    kept = {}
    for field in spec.immutable:
        if field not in schema["properties"]:
            raise ValueError(f"{spec.__name__}.immutable names {field}, which is not a field")
        always = field in schema.get("required", ()) or "default" in schema["properties"][field]
        equal = f"self.{field} == oldSelf.{field}"
        kept[field] = (
            equal
            if always
            else f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || {equal})"
        )
    names = ", ".join(kept)
    changed = " + ".join(
        f"({rule} ? '' : '{field} is immutable; ')" for field, rule in kept.items()
    )
    advice = "make a new object instead"
    return [
        {
            "rule": " && ".join(kept.values()),
            "message": f"{names} {'are' if len(kept) > 1 else 'is'} immutable; {advice}",
            "messageExpression": f"{changed} + '{advice}'",
        }
    ]


@functools.cache
def crd(kind: type[Resource]) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind; shared, as it takes a while: never change it."""
    spec_model = cast(type[Model], kind.model_fields["spec"].annotation)
    status_model = cast(type[Model], kind.model_fields["status"].annotation)
    spec = structural(spec_model)
    validations = spec.get("x-kubernetes-validations", [])
    spec["x-kubernetes-validations"] = validations + _immutability(spec_model, spec)
    if not spec["x-kubernetes-validations"]:
        del spec["x-kubernetes-validations"]
    status = _without_defaults(structural(status_model))
    status["default"] = dict(UNSEEN)
    name_rules = [
        {
            "rule": f"self.metadata.name.size() <= {kind.name_limit} "
            f"&& self.metadata.name.matches('{DNS_LABEL}')",
            "message": f"the name must be at most {kind.name_limit} characters: lower-case letters, "
            "digits and dashes, beginning with a letter",
        }
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{contract.GROUP}"},
        "spec": {
            "group": contract.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind_name,
                "listKind": f"{kind.kind_name}List",
                "plural": kind.plural,
                "singular": kind.kind_name.lower(),
                "shortNames": [kind.short_name],
                "categories": ["mlops", "everloop"],
            },
            "versions": [
                {
                    "name": contract.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": title, "type": type_, "jsonPath": path}
                        for title, type_, path in kind.columns
                    ],
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": (kind.__doc__ or "").strip(),
                            "required": ["spec"],
                            "x-kubernetes-validations": name_rules
                            + [_rule(rule) for rule in kind.rules],
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {"type": "object"},
                                "spec": spec,
                                "status": status,
                            },
                        }
                    },
                }
            ],
        },
    }


def rendered() -> dict[str, str]:
    """File name → YAML text of every CRD."""
    texts = {}
    for kind in KINDS:
        plain = json.loads(json.dumps(copy.deepcopy(crd(kind))))
        body = yaml.safe_dump(plain, sort_keys=False, width=100)
        texts[f"{contract.GROUP}_{kind.plural}.yaml"] = HEADER + body
    return texts


def chart_template(text: str) -> str:
    """A CRD as the chart's template: switched by `crds.enabled`, kept on uninstall."""
    body = text.removeprefix(HEADER).replace("{{", '{{ "{{" }}')
    keep = "    {{- if .Values.crds.keep }}\n    helm.sh/resource-policy: keep\n    {{- end }}\n"
    body = body.replace(
        "metadata:\n",
        "metadata:\n  annotations:\n    everloop.dev/chart: {{ .Chart.Name }}\n" + keep,
        1,
    )
    return f"{HEADER}{{{{- if .Values.crds.enabled }}}}\n{body}{{{{- end }}}}\n"


def main() -> int:
    """Write or check crds/ and the chart's copies, relative to the repository's root."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 if a file is out of date")
    arguments = parser.parse_args()
    root = Path(__file__).resolve().parents[3]
    stale = []
    files = {root / "docs/reference.md": reference.render({kind: crd(kind) for kind in KINDS})}
    for name, text in rendered().items():
        targets = {
            root / "crds" / name: text,
            root / "charts/everloop/templates/crds" / name: chart_template(text),
        }
        files |= targets
    for path, wanted in files.items():
        if path.exists() and path.read_text() == wanted:
            continue
        stale.append(str(path.relative_to(root)))
        if not arguments.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted)
    if stale and arguments.check:
        sys.stderr.write(f"out of date: {', '.join(stale)}; run `make crds`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
