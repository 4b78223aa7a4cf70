"""What the agent is installed with: the unit, and the page that tells how."""

from __future__ import annotations

import re
import shlex
import socket
from configparser import ConfigParser
from importlib import resources
from pathlib import Path

import pytest

from app.config import ROOT
from telemetry_client.agent.options import node_id_problem, parse
from telemetry_client.settings import DEFAULT_QUEUE, SHARED_SPOOL
from tests.client.agent.test_agent_process import LOG_LINES

PAGE = (ROOT / "docs" / "agent.md").read_text()


@pytest.fixture(scope="module")
def unit() -> ConfigParser:
    """The systemd unit as it ships inside the package."""
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    text = resources.files("telemetry_client.agent").joinpath("telemetry-agent.service").read_text()
    parser.read_string(text)
    return parser


def test_the_unit_makes_the_folder_that_queue_and_spool_are_in(unit: ConfigParser) -> None:
    service = unit["Service"]
    folder = Path("/var/lib") / service["StateDirectory"]
    assert Path(DEFAULT_QUEUE).parent == SHARED_SPOOL.parent == folder
    assert service["StateDirectoryMode"] == "0755"
    assert service["User"] not in ("", "root")


def test_the_unit_starts_what_the_package_installs(unit: ConfigParser) -> None:
    program, *arguments = shlex.split(unit["Service"]["ExecStart"])
    assert Path(program).name == "telemetry-agent"
    parse(arguments)


def test_the_unit_leaves_to_the_agent_what_it_measures(unit: ConfigParser) -> None:
    """Processes of others, the network's counters and the disks below /home."""
    service = unit["Service"]
    assert "ProtectProc" not in service
    assert "PrivateNetwork" not in service
    assert service["ProtectHome"] == "read-only"


def test_a_bad_setting_is_not_tried_again(unit: ConfigParser) -> None:
    assert unit["Service"]["Restart"] == "always"
    assert unit["Service"]["RestartPreventExitStatus"] == "2"


@pytest.mark.parametrize("line", LOG_LINES)
def test_the_page_names_the_lines_to_look_for(line: str) -> None:
    assert line in PAGE


def test_the_page_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    assert len(options) == 10
    assert options <= set(re.findall(r"`(--[a-z-]+)", PAGE))


def test_a_node_is_called_by_its_argument_its_environment_or_its_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TELEMETRY_NODE_ID", raising=False)
    assert parse([]).node_id == socket.gethostname()
    monkeypatch.setenv("TELEMETRY_NODE_ID", "from-environment")
    assert parse([]).node_id == "from-environment"
    assert parse(["--node-id", "given"]).node_id == "given"


def test_the_collector_is_started_with_the_same_options(tmp_path: Path) -> None:
    options = parse(
        [
            "--node-id=-x",
            "--url=http://hub:1",
            f"--queue={tmp_path}/q",
            f"--spool={tmp_path}/s",
            "--interval=7.5",
            "--ws-host=::1",
            "--ws-port=9",
            "--ws-origin=https://Panel.example.org/",
            "--ws-origin=http://[::1]:8080",
            "--log-level=debug",
        ]
    )
    assert parse(options.arguments()) == options
    assert options.ws_origins == ("https://panel.example.org", "http://[::1]:8080")


@pytest.mark.parametrize(
    "origin", ["", "*", "panel.example.org", "https://a/b", "https://", "null"]
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--ws-origin", origin])
    assert ended.value.code == 2


@pytest.mark.parametrize(
    "name", ["", "a/b", "a\u200b", " a", ".", "..", "summary", "a\nb", "\udcff", "x" * 256]
)
def test_names_that_the_hub_refuses_are_refused_here(name: str) -> None:
    assert node_id_problem(name) is not None


@pytest.mark.parametrize("name", ["web-1.example.org", "192.168.1.10", "Büro 3", "x" * 255])
def test_names_that_the_hub_takes_are_taken(name: str) -> None:
    assert node_id_problem(name) is None
