"""`python -m app …` as an operator runs it."""

from __future__ import annotations

import errno
import socket
import urllib.request
from dataclasses import fields
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from app.auth.keys import create_key_file
from app.commands.serve.preconditions import check_start
from app.config import PARENT_VARIABLE, Config, unknown_variables
from app.database.addresses import owner_dsn, without_password
from app.database.pool import Database
from app.errors import ConfigError, StartError
from tests.commands import call_app
from tools.hub_process import HubProcess, database_settings, free_port, run_app


@pytest.fixture
def env(config: Config) -> dict[str, str]:
    """The environment that leads to the session's database."""
    return database_settings(config)


def test_config_shows_each_setting_with_its_source() -> None:
    shown = run_app(
        "config",
        HUB_PORT="9000",
        DATABASE_URL="postgresql://hub:secret@db/hub",
        HUB_OWNER_URL="postgresql://owner:secret@db/hub",
    )
    lines = {line.split()[0]: line for line in shown.stdout.splitlines()}
    assert lines["HUB_PORT"].split()[1:3] == ["9000", "environment"]
    assert lines["HUB_HOST"].split()[1:3] == ["127.0.0.1", "default"]
    assert "secret" not in shown.stdout
    assert "***" in lines["DATABASE_URL"]
    assert "***" in lines["HUB_OWNER_URL"]


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({"HUB_PORT": "99999"}, "HUB_PORT is 99999: it must be between 1 and 65535."),
        ({"HUB_LOG_LEVEL": "LOUD"}, "HUB_LOG_LEVEL is 'LOUD'"),
        ({"HUB_FAIL_AFTER_SECONDS": "30"}, "HUB_STALE_AFTER_SECONDS (60) must be smaller than"),
        ({"HUB_OWNER_URL": "postgresql://db/hub"}, "HUB_OWNER_URL is set and DATABASE_URL is not"),
        ({"HUB_READ_URL": "postgresql://db/hub"}, "HUB_READ_URL is set and DATABASE_URL is not"),
        ({"HUB_LATE_DATA_DAYS": "30"}, "HUB_LATE_DATA_DAYS (30) must be smaller than"),
        (
            {"HUB_RAW_RETENTION_DAYS": "365"},
            "HUB_RAW_RETENTION_DAYS (365) must be smaller than HUB_ROLLUP_1M_RETENTION_DAYS (365).",
        ),
    ],
)
def test_bad_setting_is_a_sentence(env: dict[str, str], sentence: str) -> None:
    refused = call_app("config", **env)
    assert refused.returncode == 1
    assert refused.stderr.startswith("hub: ")
    assert sentence in refused.stderr
    assert "Traceback" not in refused.stderr


def test_migrate_says_when_there_is_nothing_to_do(database: Database, env: dict[str, str]) -> None:
    done = call_app("migrate", **env)
    assert (done.returncode, done.stdout) == (0, "The schema is up to date.\n")


def test_migrate_without_a_running_hub(tmp_path: Path) -> None:
    done = run_app("migrate", HUB_DATA_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "applied migrations/0001_create_jobs.sql" in done.stdout


def test_doctor_passes_and_fails(database: Database, config: Config, env: dict[str, str]) -> None:
    well = run_app("doctor", **env)
    assert well.returncode == 0, well.stdout
    with psycopg.connect(owner_dsn(config), autocommit=True, prepare_threshold=None) as conn:
        conn.execute("ALTER INDEX jobs_status_idx RENAME TO hidden")
        ill = run_app("doctor", **env)
        conn.execute("ALTER INDEX hidden RENAME TO jobs_status_idx")
    assert ill.returncode == 1
    assert "FAIL" in ill.stdout
    assert "jobs_status_idx" in ill.stdout


@pytest.mark.parametrize(
    ("host", "words"),
    [("127.0.0.1:1", "Connection refused"), ("nothing.invalid:5432", "failed to resolve host")],
)
@pytest.mark.parametrize("command", ["migrate", "doctor"])
def test_unreachable_server_is_named(command: str, host: str, words: str) -> None:
    refused = call_app(command, DATABASE_URL=f"postgresql://anna:secret@{host}/hub")
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"hub: The database hub at {host} cannot be used by anna: ")
    assert words in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert "secret" not in refused.stderr


def test_unknown_database_is_named(config: Config) -> None:
    address = urlsplit(owner_dsn(config))._replace(path="/nothing")
    refused = call_app("migrate", DATABASE_URL=urlunsplit(address))
    assert refused.returncode == 1
    assert 'database "nothing" does not exist' in refused.stderr
    assert f"at {address.hostname}:{address.port} cannot be used by {address.username}" in (
        refused.stderr
    )


def test_demo_without_a_hub_is_a_sentence() -> None:
    refused = call_app("demo", "--url", "http://127.0.0.1:1")
    assert refused.returncode == 1
    assert "http://127.0.0.1:1" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


OPERATORS_NEED = 21


def shown_settings(*options: str, **env: str) -> list[str]:
    shown = call_app("config", *options, **env)
    assert shown.returncode == 0, shown.stderr
    return [line.split()[0] for line in shown.stdout.splitlines()]


def test_config_shows_what_operators_need_and_all_on_request() -> None:
    few = shown_settings()
    assert len(few) == OPERATORS_NEED
    assert {"HUB_HOST", "HUB_TOKEN_KEY_FILE", "HUB_FAIL_AFTER_SECONDS"} <= set(few)
    every = shown_settings("--all")
    assert every[:OPERATORS_NEED] == few
    assert len(every) == len(fields(Config))


def test_config_shows_a_setting_for_tuning_that_is_set() -> None:
    assert shown_settings(HUB_THREADS="32")[OPERATORS_NEED:] == ["HUB_THREADS"]


def test_config_shows_an_invalid_address_without_its_password() -> None:
    shown = call_app("config", DATABASE_URL="postgresql://x:secret@[db/hub")
    assert shown.returncode == 0
    assert "not a valid database address" in shown.stdout
    assert "secret" not in shown.stdout


INVALID_ADDRESSES = [
    "postgre://hub:s3cret@db/hub",
    "postgresq1+psycopg://hub:s3cret@db/hub",
    "postgres//hub:s3cret@db/hub",
    "hub:s3cret@db/hub",
    "https://hub:s3cret=x@db/hub",
    "postgresql://hub:s3cret@[db/hub",
    "postgresql://hub:s3cret%zz@db/hub",
    "postgresql://hub:s3cret/x@db/hub",
    "postgresql://hub@db/hub?pasword=s3cret",
    "host=db user=hub pasword=s3cret",
]


@pytest.mark.parametrize("address", INVALID_ADDRESSES)
@pytest.mark.parametrize("variable", ["DATABASE_URL", "HUB_OWNER_URL"])
def test_an_invalid_address_is_refused_without_its_password(address: str, variable: str) -> None:
    with pytest.raises(ConfigError, match=f"^{variable} is not a valid database address") as caught:
        Database(address, is_embedded=False, variable=variable)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None  # a worker's log has the whole chain
    assert without_password(address) == "(not a valid database address)"


def test_a_mistyped_scheme_is_named() -> None:
    with pytest.raises(ConfigError, match=r"\(it begins with postgre://\)"):
        Database("postgre://hub:s3cret@db/hub", is_embedded=False)


def test_passwords_of_a_valid_address_are_not_shown() -> None:
    shown = without_password("postgresql://hub:s3cret@db:5432,db2/hub?sslpassword=s3cret")
    assert "s3cret" not in shown
    assert "hub" in shown


def test_start_with_a_mistyped_address_prints_no_password(tmp_path: Path) -> None:
    settings = {"DATABASE_URL": INVALID_ADDRESSES[0], "HUB_DATA_DIR": str(tmp_path)}
    for command in (["serve"], ["migrate"], ["doctor"], ["config"]):
        done = call_app(*command, **settings)
        assert "s3cret" not in done.stdout + done.stderr
        assert "not a valid database address" in done.stdout + done.stderr


@pytest.mark.parametrize("variable", ["DATABASE_URL", "HUB_READ_URL"])
def test_an_address_for_the_web_workers_is_checked_before_the_start(variable: str) -> None:
    settings = {"DATABASE_URL": "postgresql://127.0.0.1:9/x", variable: INVALID_ADDRESSES[0]}
    done = call_app("serve", HUB_OWNER_URL="postgresql://127.0.0.1:9/x", **settings)
    assert done.returncode == 1
    assert f"{variable} is not a valid database address" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "command", [["doctor"], ["repair", "--counts"], ["token", "list"]], ids=lambda words: words[0]
)
@pytest.mark.parametrize("is_there", [False, True])
def test_command_with_a_wrong_data_directory_writes_nothing(
    tmp_path: Path, command: list[str], is_there: bool
) -> None:
    data_dir = tmp_path / "wrong"
    if is_there:
        data_dir.mkdir()
        (data_dir / "notes.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    done = call_app(*command, HUB_DATA_DIR=str(data_dir))
    assert done.returncode == 1
    assert done.stderr.startswith(f"hub: HUB_DATA_DIR is {data_dir}, where there is no database")
    assert sorted(tmp_path.rglob("*")) == before


def test_unknown_setting_is_warned_of() -> None:
    warned = call_app("config", HUB_PROT="9000", HUB_XYZZY="1")
    assert warned.returncode == 0
    assert warned.stderr.splitlines()[:2] == [
        "hub: HUB_PROT is not a setting of the hub and is ignored: did you mean HUB_PORT?",
        "hub: HUB_XYZZY is not a setting of the hub and is ignored: see `python -m app config`.",
    ]


def test_variables_of_the_hub_itself_are_not_warned_of() -> None:
    assert unknown_variables({"HUB_TEST_TOOLS": "required", "HUB_PORT": "1", "PATH": "/"}) == []
    assert unknown_variables({PARENT_VARIABLE: "1", "HUB_PROT": "1"}) == []  # `serve` has warned


# What stops the start: one sentence that names the setting.


def assert_refused(sentence: str, **env: str) -> None:
    refused = call_app("serve", **env)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("hub: ")
    assert refused.stderr.count("\n") == 1
    assert sentence in refused.stderr


@pytest.mark.parametrize("host", ["notahost.invalid", "a" * 70, "..", "[::1]", "fe80::1%none"])
def test_unknown_host_is_named(tmp_path: Path, host: str) -> None:
    sentence = f"HUB_HOST is {host}, which is neither an IP address nor a known host name"
    assert_refused(sentence, HUB_HOST=host, HUB_DATA_DIR=str(tmp_path))


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_host_of_another_machine_is_named(tmp_path: Path, host: str) -> None:
    create_key_file(tmp_path / "token.key")
    env = {"HUB_TOKEN_KEY_FILE": str(tmp_path / "token.key"), "HUB_DATA_DIR": str(tmp_path)}
    assert_refused(f"HUB_HOST is {host}, where the hub cannot listen (", HUB_HOST=host, **env)


def test_port_that_needs_rights_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def bind(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("socket.socket.bind", bind)  # tests may run as root
    with pytest.raises(StartError, match="HUB_PORT is 80, where this user may not listen"):
        check_start(Config(port=80))


def test_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert_refused(
            f"Port {port} on 127.0.0.1 is in use", HUB_PORT=port, HUB_DATA_DIR=str(tmp_path)
        )


def test_port_of_the_embedded_database_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert_engine_refused(
            f"Port {port} for the embedded database is in use",
            HUB_EMBEDDED_PORT=port,
            HUB_DATA_DIR=str(tmp_path),
        )


def assert_engine_refused(sentence: str, **env: str) -> None:
    """As `assert_refused`, below log lines."""
    refused = call_app("serve", HUB_PORT=str(free_port()), **env)
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("hub: ")
    assert sentence in last


@pytest.mark.parametrize("name", ["file", "file/below", "/proc/below"])
def test_unusable_data_directory_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    path = str(tmp_path / name)
    assert_engine_refused(f"HUB_DATA_DIR is {path}, where the hub cannot write", HUB_DATA_DIR=path)


def test_read_only_data_directory_is_named(tmp_path: Path) -> None:
    """On a file system that is read-only for root as well."""
    assert_engine_refused("HUB_DATA_DIR is /proc/sys", HUB_DATA_DIR="/proc/sys")


def test_same_port_twice_is_named() -> None:
    assert_refused("HUB_PORT and HUB_EMBEDDED_PORT are both 8432", HUB_PORT="8432")


def test_host_name_is_resolved() -> None:
    """The web server takes IP addresses only."""
    assert check_start(Config(host="localhost", port=free_port())) in ("127.0.0.1", "::1")


def test_hub_listens_on_an_ipv6_address(tmp_path: Path) -> None:
    hub = HubProcess(tmp_path, HUB_HOST="::1")
    hub.host = "::1"
    with hub, urllib.request.urlopen(f"http://[::1]:{hub.port}/api/v1/docs") as page:
        assert page.status == 200
    assert Config(host="::1", port=hub.port).url == f"http://[::1]:{hub.port}"
