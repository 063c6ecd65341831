"""Where things are in a training pod; `root` moves all of it elsewhere, for tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from everloop import contract

RUNNER_SHIM = "/opt/everloop/shim"  # where our image has it; a folder or the file itself


@dataclass(frozen=True)
class Layout:
    """Paths of contract.py below `root`."""

    root: Path = Path("/")

    def at(self, path: str) -> Path:
        """An absolute path of the contract, below the root."""
        return self.root / path.lstrip("/")

    @property
    def run_config(self) -> Path:
        return self.at(contract.CONFIG_DIR) / contract.RUN_CONFIG_NAME

    @property
    def ca(self) -> Path:
        return self.at(contract.CONFIG_DIR) / contract.CA_NAME

    @property
    def token(self) -> Path:
        return self.at(contract.TOKEN_DIR) / contract.TOKEN_NAME

    @property
    def source_config(self) -> Path:
        return self.at(contract.SOURCE_CONFIG_DIR)

    @property
    def source(self) -> Path:
        return self.at(contract.SOURCE_DIR)

    @property
    def data(self) -> Path:
        return self.at(contract.DATA_DIR)

    @property
    def params(self) -> Path:
        return self.at(contract.PARAMS_FILE)

    @property
    def output(self) -> Path:
        return self.at(contract.OUTPUT_DIR)

    @property
    def champion(self) -> Path:
        return self.at(contract.CHAMPION_DIR)

    @property
    def state(self) -> Path:
        return self.at(contract.STATE_DIR)

    @property
    def steps(self) -> Path:
        return self.state / "steps"

    @property
    def fetched(self) -> Path:
        return self.state / "fetch.json"

    @property
    def shim(self) -> Path:
        return self.at(contract.SHIM)

    @property
    def runner_shim(self) -> Path:
        """Our shim in the image: /opt/everloop/shim, or in that folder."""
        path = self.at(RUNNER_SHIM)
        return path / "shim" if path.is_dir() else path

    @property
    def termination_log(self) -> Path:
        return self.at(contract.TERMINATION_LOG)
