"""Images: tags follow from content, and what is pushed is what the OCI specification says."""

import hashlib
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from devcluster.images import builder, inputs
from devcluster.images.registry import MANIFEST, Registry, image_of, layer_of, push_static
from devcluster.progress import UserError

RECIPE = """ARG BASE=debian
FROM $BASE AS packages
RUN fetch kopf
# once
FROM packages AS operator
USER 1
FROM $BASE AS envoy
RUN fetch envoy
FROM $BASE AS router
COPY --from=envoy /envoy /envoy
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for path, text in {
        "Dockerfile": RECIPE,
        "requirements/router.txt": "envoy",
        "requirements/operator.txt": "kopf",
        "operator/everloop/a.py": "a = 1",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "operator_changes", "router_changes"),
    [
        ("operator/everloop/a.py", True, False),
        ("operator/everloop/new/b.py", True, False),
        ("requirements/operator.txt", True, False),
        ("requirements/router.txt", False, True),
        ("operator/everloop/__pycache__/a.pyc", False, False),
        ("README.md", False, False),
    ],
)
def test_a_tag_changes_with_what_is_in_the_image_and_nothing_else(
    tree: Path, changed: str, operator_changes: bool, router_changes: bool
) -> None:
    before = [inputs.image_key(target, "base", tree) for target in ("operator", "router")]
    (tree / changed).parent.mkdir(parents=True, exist_ok=True)
    (tree / changed).write_text("changed")
    after = [inputs.image_key(target, "base", tree) for target in ("operator", "router")]
    assert [b != a for b, a in zip(before, after, strict=True)] == [
        operator_changes,
        router_changes,
    ]


@pytest.mark.parametrize(
    ("before", "after", "operator_changes", "router_changes"),
    [
        ("ARG BASE=debian", "ARG BASE=alpine", True, True),
        ("USER 1", "USER 2", True, False),
        ("RUN fetch kopf", "RUN fetch kopf 2", True, False),
        ("RUN fetch envoy", "RUN fetch envoy 2", False, True),
        ("# once", "# twice", False, False),
    ],
    ids=["before all stages", "own stage", "a stage it starts from", "one it copies from", "prose"],
)
def test_a_tag_changes_with_its_part_of_the_recipe(
    tree: Path, before: str, after: str, operator_changes: bool, router_changes: bool
) -> None:
    keys = [inputs.image_key(target, "base", tree) for target in ("operator", "router")]
    assert before in RECIPE
    (tree / "Dockerfile").write_text(RECIPE.replace(before, after))
    new = [inputs.image_key(target, "base", tree) for target in ("operator", "router")]
    assert [a != b for a, b in zip(keys, new, strict=True)] == [operator_changes, router_changes]


def test_each_of_our_images_has_its_stages() -> None:
    dockerfile = (inputs.ROOT / "Dockerfile").read_text()
    for target in inputs.INPUTS:
        assert f" AS {target}\n" in inputs.recipe(target, dockerfile)


def test_a_tag_changes_with_the_base(tree: Path) -> None:
    assert inputs.image_key("router", "one", tree) != inputs.image_key("router", "two", tree)


def test_moving_text_between_files_changes_the_key(tree: Path) -> None:
    folder = tree / "operator/everloop"
    (folder / "a.py").write_text("xy")
    (folder / "b.py").write_text("")
    one = inputs.image_key("operator", "base", tree)
    (folder / "a.py").write_text("x")
    (folder / "b.py").write_text("y")
    assert inputs.image_key("operator", "base", tree) != one


def test_a_missing_input_is_named(tree: Path) -> None:
    (tree / "requirements/router.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"router\.txt goes into an image"):
        inputs.image_key("router", "base", tree)


@pytest.mark.parametrize("target", sorted(inputs.INPUTS))
def test_a_snapshot_holds_everything_its_key_needs(target: str) -> None:
    with inputs.snapshot([target]) as copy:
        assert inputs.image_key(target, "base", copy) == inputs.image_key(target, "base")


def test_every_folder_the_dockerfile_copies_is_an_input() -> None:
    copied = {
        word.rstrip("/")
        for line in (inputs.ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert copied == {path for paths in inputs.INPUTS.values() for path in paths}


def test_a_layer_is_a_tar_whose_size_and_digest_are_known_beforehand(tmp_path: Path) -> None:
    binary = tmp_path / "prometheus"
    binary.write_bytes(b"ELF" * 1000)
    layer = layer_of({"/bin/prometheus": binary, "/etc/x.yml": b"a: 1\n"}, folders=["/data"])
    content = b"".join(layer.chunks())
    assert layer.size == len(content)
    assert layer.digest() == f"sha256:{hashlib.sha256(content).hexdigest()}"
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = {member.name: member for member in archive.getmembers()}
        assert sorted(members) == ["bin", "bin/prometheus", "data", "etc", "etc/x.yml"]
        assert members["bin/prometheus"].mode == 0o755
        assert members["data"].uid == 65532
        packed = archive.extractfile("bin/prometheus")
        assert packed is not None
        assert packed.read() == binary.read_bytes()


def test_a_manifest_names_its_config_and_layer_by_digest(tmp_path: Path) -> None:
    layer = layer_of({"/x": b"x"})
    manifest, config = image_of(layer, {"Entrypoint": ["/x"]}, "arm64")
    parsed = json.loads(manifest)
    assert parsed["mediaType"] == MANIFEST
    assert parsed["config"]["digest"] == f"sha256:{hashlib.sha256(config).hexdigest()}"
    assert parsed["config"]["size"] == len(config)
    assert [entry["digest"] for entry in parsed["layers"]] == [layer.digest()]
    assert json.loads(config)["rootfs"]["diff_ids"] == [layer.digest()]
    assert json.loads(config)["architecture"] == "arm64"


class FakeRegistry(http.server.BaseHTTPRequestHandler):
    """The four calls of the distribution API that a push makes; checks digests like a real one."""

    protocol_version = "HTTP/1.1"
    stored: dict[str, bytes]
    uploads: list[str]

    def do_HEAD(self) -> None:
        self.answer(200 if self.path.rsplit("/", 1)[1] in self.stored else 404)

    def do_POST(self) -> None:
        self.answer(202, Location=f"http://{self.headers['Host']}{self.path}1?state=s")

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if "/blobs/" in self.path and not self.path.endswith(f"state=s&digest={digest}"):
            return self.answer(400)
        self.stored[digest] = body
        self.stored[self.path.rsplit("/", 1)[1]] = body
        self.uploads.append(digest)
        return self.answer(201)

    def answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing: the test's own output is enough."""


@pytest.fixture
def registry() -> Iterator[tuple[str, type[FakeRegistry]]]:
    handler = type("Handler", (FakeRegistry,), {"stored": {}, "uploads": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}", handler
        server.shutdown()


def test_pushing_the_same_twice_sends_the_layer_once(
    registry: tuple[str, type[FakeRegistry]], tmp_path: Path
) -> None:
    address, seen = registry
    binary = tmp_path / "coredns"
    binary.write_bytes(b"\x7fELF")
    first = push_static(address, "a/coredns", {"/coredns": binary}, ["/coredns"])
    assert len(seen.uploads) == 3  # layer, config, manifest
    second = push_static(address, "a/coredns", {"/coredns": binary}, ["/coredns"])
    assert first == second
    assert len(seen.uploads) == 4  # the manifest's tag alone
    binary.write_bytes(b"\x7fELF2")
    assert push_static(address, "a/coredns", {"/coredns": binary}, ["/coredns"]) != first


def test_a_registry_that_is_down_says_what_to_type() -> None:
    with pytest.raises(UserError, match="make cluster-up"):
        Registry("127.0.0.1:1").has("a", "b")


def test_pip_settings_of_the_machine_travel_but_its_folders_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "pip.conf"
    conf.write_text("[global]\nindex-url = https://one.example/simple\nfind-links = /opt/wheels\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(conf))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://two.example/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "/opt/wheels")
    written = builder.pip_conf(with_ca=True).splitlines()
    assert "index-url = https://one.example/simple" in written
    assert "extra-index-url = https://two.example/simple" in written
    assert f"cert = {builder.BUILD_CA}" in written
    assert not [line for line in written if "wheels" in line]
