"""Names shared by the operator, the training runner and the model server.

Standard library only: all three packages import this module, and it must cost nothing in any image.
Whatever two of them have to agree on (labels, files, variables, metric names, reasons) is written
here once, with a line that says why it exists.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

# --- API ------------------------------------------------------------------------------------------
GROUP: Final = "everloop.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
FIELD_MANAGER: Final = "everloop"  # owner of every field we apply

# --- labels (on objects we create; the cache watches children by MANAGED_BY) ----------------------
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGED_BY_VALUE: Final = "everloop"
LABEL_COMPONENT: Final = f"{GROUP}/component"  # what the object is for, see COMPONENT_*
LABEL_MODEL: Final = f"{GROUP}/model"  # spec.modelName of the owner
LABEL_RUN: Final = f"{GROUP}/training-run"  # Jobs, pods, ConfigMaps, version of a TrainingRun
LABEL_ATTEMPT: Final = f"{GROUP}/attempt"  # which attempt a Job is, from 1
LABEL_EXPERIMENT: Final = f"{GROUP}/experiment"  # trials of an Experiment
LABEL_TRIAL: Final = f"{GROUP}/trial"  # number of the trial, from 0
LABEL_DEPLOYMENT: Final = f"{GROUP}/deployment"  # serving objects and history of a Deployment
LABEL_MODEL_VERSION: Final = f"{GROUP}/model-version"  # serving objects of one ModelVersion
LABEL_MONITOR: Final = f"{GROUP}/monitor"  # rules of, and runs caused by, a Monitor

COMPONENT_JOB: Final = "training-job"
COMPONENT_RUN_CONFIG: Final = "run-config"
COMPONENT_REPORT: Final = "run-report"
COMPONENT_TRIAL: Final = "trial"
COMPONENT_RETRAINING: Final = "retraining"
COMPONENT_SERVER: Final = "model-server"
COMPONENT_ROUTER: Final = "router"
COMPONENT_RULES: Final = "rules"
COMPONENT_SCRAPE: Final = "scrape"
COMPONENT_HISTORY: Final = "history"
COMPONENT_NETWORK: Final = "network-policy"

# --- annotations ----------------------------------------------------------------------------------
ANNOTATION_REGISTERED: Final = f"{GROUP}/registered"  # on a report: its ModelVersion, now deleted
ANNOTATION_RESOLUTION: Final = f"{GROUP}/resolution"  # on a Job: what it fetched, for retries
ANNOTATION_NOT_MONITORABLE: Final = f"{GROUP}/not-monitorable"  # on a ModelVersion: why no profile
ANNOTATION_TRIGGER: Final = f"{GROUP}/trigger"  # on a run: why it exists (JSON, see docs)
ANNOTATION_RETRAIN: Final = f"{GROUP}/retrain-requested"  # on a Monitor: asked by hand
ANNOTATION_SYNC: Final = f"{GROUP}/config-digest"  # on router pods: makes the kubelet sync at once
ANNOTATION_BOOTSTRAP: Final = f"{GROUP}/bootstrap-digest"  # on a router's template: new pods
ANNOTATION_RETIRED: Final = f"{GROUP}/retired-at"  # on model servers: without traffic since
ANNOTATION_CLOCK: Final = f"{GROUP}/clock-speedup"  # on rules and alerts: time is accelerated
ANNOTATION_APPLIED: Final = f"{GROUP}/applied"  # on children: owner's uid, digest of what we set

# --- files and folders in a training pod ----------------------------------------------------------
WORKSPACE: Final = "/workspace"  # emptyDir shared by all containers of the run
TOOLS_DIR: Final = "/everloop"  # emptyDir with our static shim, read-only for users' steps
SHIM: Final = f"{TOOLS_DIR}/shim"
SOURCE_DIR: Final = f"{WORKSPACE}/source"  # working directory of users' steps
DATA_DIR: Final = f"{WORKSPACE}/data"  # one folder per spec.data[].name
PARAMS_FILE: Final = f"{WORKSPACE}/params.json"
OUTPUT_DIR: Final = f"{WORKSPACE}/output"  # model/, metrics.json, predictions/reference.parquet
MODEL_SUBDIR: Final = "model"
METRICS_NAME: Final = "metrics.json"
PREDICTIONS_NAME: Final = "predictions.parquet"
REFERENCE_NAME: Final = "reference.parquet"
CHAMPION_DIR: Final = f"{WORKSPACE}/champion"  # the champion's model/ and its evaluation outputs
STATE_DIR: Final = f"{WORKSPACE}/.everloop"  # runner and shim records; fetch.json, steps/*.json
CONFIG_DIR: Final = "/etc/everloop"  # the run's ConfigMap: RUN_CONFIG_NAME, CA_NAME
RUN_CONFIG_NAME: Final = "run.json"
CA_NAME: Final = "ca.crt"
SOURCE_CONFIG_DIR: Final = "/etc/everloop-source"  # spec.source.configMapRef, mounted for fetch
TOKEN_DIR: Final = "/var/run/secrets/everloop"  # projected token, CONTAINER_PACKAGE only
TOKEN_NAME: Final = "token"
TERMINATION_LOG: Final = "/dev/termination-log"

# columns with a meaning in the parquet files that the Evaluate step writes
COLUMN_TIME: Final = "time"  # when the row happened (timestamp, UTC)
COLUMN_LABEL: Final = "label"  # the truth
COLUMN_SCORE: Final = "score"  # in predictions.parquet: what the model said
COLUMN_HELD_OUT: Final = "held_out"  # bool in reference.parquet: not seen in training

# --- environment of users' steps (users' contract; docs/data-scientist.md has the table) ----------
ENV_PREFIX: Final = "EVERLOOP_"  # of all that follow, and of no variable of a user
ENV_RUN: Final = "EVERLOOP_RUN"
ENV_NAMESPACE: Final = "EVERLOOP_NAMESPACE"
ENV_MODEL_NAME: Final = "EVERLOOP_MODEL_NAME"
ENV_SEED: Final = "EVERLOOP_SEED"
ENV_PARAMS_FILE: Final = "EVERLOOP_PARAMS_FILE"
ENV_SOURCE_DIR: Final = "EVERLOOP_SOURCE_DIR"
ENV_DATA_DIR: Final = "EVERLOOP_DATA_DIR"
ENV_OUTPUT_DIR: Final = (
    "EVERLOOP_OUTPUT_DIR"  # where this pass writes (champion pass: CHAMPION_DIR)
)
ENV_MODEL_DIR: Final = "EVERLOOP_MODEL_DIR"  # the model this pass of an Evaluate step scores
ENV_PASS: Final = "EVERLOOP_PASS"  # PASS_CANDIDATE or PASS_CHAMPION, Evaluate steps only
PASS_CANDIDATE: Final = "candidate"
PASS_CHAMPION: Final = "champion"

# --- environment of our containers ----------------------------------------------------------------
ENV_REPORT_URL: Final = "EVERLOOP_REPORT_URL"
ENV_ATTEMPT: Final = "EVERLOOP_ATTEMPT"
ENV_POD_NAME: Final = "EVERLOOP_POD_NAME"
ENV_RESOLUTION: Final = "EVERLOOP_RESOLUTION"  # first attempt: {"commit", "data": {name: digest}}
ENV_DEPLOYMENT: Final = "EVERLOOP_DEPLOYMENT"
ENV_MODEL_VERSION: Final = "EVERLOOP_MODEL_VERSION"
ENV_ARTIFACT_URI: Final = "EVERLOOP_ARTIFACT_URI"
ENV_ARTIFACT_DIGEST: Final = "EVERLOOP_ARTIFACT_DIGEST"
ENV_ARTIFACT_FORMAT: Final = "EVERLOOP_ARTIFACT_FORMAT"
ENV_PROFILE_URI: Final = "EVERLOOP_PROFILE_URI"
ENV_PROFILE_DIGEST: Final = "EVERLOOP_PROFILE_DIGEST"
ENV_SIGNATURE: Final = "EVERLOOP_SIGNATURE"  # JSON, V2 metadata shape

# --- containers of a training pod -----------------------------------------------------------------
CONTAINER_FETCH: Final = "everloop-fetch"
CONTAINER_PACKAGE: Final = "everloop-package"
CHAMPION_PASS_SUFFIX: Final = "-champion"  # container of an Evaluate step's second pass

# --- the report channel ---------------------------------------------------------------------------
REPORT_AUDIENCE: Final = "everloop-run-reports"
REPORT_PATH: Final = "/v1/namespaces/{namespace}/trainingruns/{run}/report"
REPORT_KEY: Final = "report.json"  # key in the ConfigMap `<run>-report`
REPORT_SCHEMA: Final = 1

# --- model server ---------------------------------------------------------------------------------
SERVER_HTTP_PORT: Final = 8080
SERVER_METRICS_PORT: Final = 8082
ROUTER_HTTP_PORT: Final = 8080
ROUTER_STATUS_PORT: Final = 9902  # read-only: /stats/prometheus and the weights in force
METRICS_PORT_NAME: Final = "metrics"
PREDICT: Final = "predict"
PREDICT_PROBA: Final = "predict_proba"

# Every series of the model server carries `deployment` and `model_version`.
METRIC_REQUESTS: Final = "everloop_requests_total"  # answered or failed, one per V2 request
METRIC_ERRORS: Final = "everloop_errors_total"  # requests answered 5xx by the server
METRIC_INVALID: Final = "everloop_invalid_inputs_total"  # requests answered 4xx, by `reason`
METRIC_DURATION: Final = "everloop_request_duration_seconds"  # histogram
METRIC_BINS: Final = "everloop_bin_rows_total"  # rows counted, by `side`, `feature`, `bin`
METRIC_REFERENCE: Final = "everloop_reference_fraction"  # gauge, same labels as METRIC_BINS
METRIC_REFERENCE_ROWS: Final = "everloop_reference_rows"  # gauge, rows behind the fractions, `side`
METRIC_CALIBRATION: Final = "everloop_calibration_psi"  # gauge, by `side`, `feature`, `window`
METRIC_MODEL_INFO: Final = "everloop_model_info"  # gauge 1, with `digest`
SIDE_INPUT: Final = "input"
SIDE_OUTPUT: Final = "output"
CALIBRATION_WINDOWS: Final = {"1h": 3600, "6h": 21600, "1d": 86400, "7d": 604800}  # seconds
CALIBRATION_FACTOR: Final = 1.1  # headroom over the largest PSI the reference shows by itself
BIN_MISSING: Final = "missing"
BIN_OTHER: Final = "other"

# --- conditions -----------------------------------------------------------------------------------
READY: Final = "Ready"
RECONCILING: Final = "Reconciling"
STALLED: Final = "Stalled"
SUSPENDED: Final = "Suspended"
COMPLETE: Final = "Complete"
FAILED: Final = "Failed"
ELIGIBLE: Final = "Eligible"  # ModelVersion: its gates hold, it may be rolled out
MONITORABLE: Final = "Monitorable"  # ModelVersion: it has a profile, so drift can be measured
RULES_LOADED: Final = "RulesLoaded"  # Monitor: Prometheus evaluates its rules
RETENTION_SUFFICIENT: Final = "RetentionSufficient"  # Monitor: Prometheus keeps two windows
TARGETS_UP: Final = "TargetsUp"  # Monitor: Prometheus scrapes its servers

# --- finalizers -----------------------------------------------------------------------------------
FINALIZER_SERVED: Final = f"{GROUP}/served"  # on a ModelVersion while a Deployment serves it

# --- reasons that more than one place writes or reads ---------------------------------------------
REASON_NAME_CONFLICT: Final = "NameConflict"
REASON_INVALID_SPEC: Final = "InvalidSpec"
REASON_NO_CHAMPION: Final = "NoChampion"

# --- verdicts -------------------------------------------------------------------------------------
PASS: Final = "Pass"
FAIL: Final = "Fail"
INCONCLUSIVE: Final = "Inconclusive"
SKIPPED: Final = "Skipped"


def child_name(*parts: str, limit: int = 63) -> str:
    """One name for a child, the same for the same parts: joined by dashes, cut and hashed if long.

    >>> child_name("flights", "router")
    'flights-router'
    >>> len(child_name("a" * 60, "router"))
    63
    """
    name = "-".join(parts)
    if len(name) <= limit:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: limit - 9].rstrip('-')}-{digest}"


def files_digest(files: Iterable[tuple[str, int, str]]) -> str:
    """Digest of several files: sha256 of the sorted lines (path, size, sha256 in hex) of each.

    Paths are relative, with forward slashes. The runner records it, the model server compares it.
    """
    digest = hashlib.sha256()
    for path, size, sha256 in sorted(files):
        digest.update(f"{path}\0{size}\0{sha256}\n".encode())
    return f"sha256:{digest.hexdigest()}"
