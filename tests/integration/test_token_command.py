"""`python -m app token …` as an operator runs it, and a whole hub that asks for its tokens."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.auth.keys import read_keys
from app.auth.scopes import Scope
from app.auth.tokens import read_token
from app.auth.watch import POLL_SECONDS
from app.config import ROOT, Config
from app.database.addresses import hub_dsn
from app.database.pool import Database
from app.errors import Unauthorized
from tests.client.tools import need
from tests.commands import call_app
from tests.factories import make_body
from tests.tokens import FOREIGN_KEYS, bearer, make_token
from tools import engine_template
from tools.hub_process import START_SECONDS, HubProcess, run_app, wait_until

Run = subprocess.CompletedProcess[str]


@pytest.fixture
def env(config: Config, tmp_path: Path, database: Database) -> dict[str, str]:
    """The environment that leads to the session's database and to a new key."""
    key_file = str(tmp_path / "token.key")
    assert call_app("token", "key", HUB_TOKEN_KEY_FILE=key_file).returncode == 0
    if config.database_url is not None:  # the owner's address is none of this command's
        return {"DATABASE_URL": config.database_url, "HUB_TOKEN_KEY_FILE": key_file}
    return {"HUB_DATA_DIR": str(config.data_dir), "HUB_TOKEN_KEY_FILE": key_file}


def create(env: dict[str, str], *options: str) -> Run:
    return call_app(
        "token", "create", "--name", "nightly", *(options or ("--scope", "read")), **env
    )


def listed(env: dict[str, str], *options: str) -> list[dict[str, Any]]:
    done = call_app("token", "list", "--json", *options, **env)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def sentence(refused: Run, status: int = 1) -> str:
    """What a failed command says: one line, no traceback."""
    assert refused.returncode == status
    assert refused.stdout == ""
    (line,) = refused.stderr.strip().splitlines()
    return line


def test_the_token_alone_is_on_standard_output_and_kept_nowhere(
    env: dict[str, str], config: Config
) -> None:
    done = create(env, "--scope", "ingest", "--job-type", "backup", "--expires", "90d")
    token = done.stdout.strip()
    claims = read_token(token, read_keys(Path(env["HUB_TOKEN_KEY_FILE"])))
    assert (claims.name, claims.scope) == ("nightly", Scope.INGEST)
    assert claims.job_types == {"backup"}
    (row,) = listed(env)
    assert (row["id"], row["state"]) == (claims.token_id, "valid")
    assert claims.token_id in done.stderr
    assert token not in done.stderr
    with psycopg.connect(hub_dsn(config), prepare_threshold=None) as conn:
        stored = conn.execute("SELECT to_jsonb(tokens)::text FROM tokens").fetchone()
    assert stored is not None
    assert not any(part in stored[0] for part in token.split("."))


def test_it_is_valid_for_a_year_unless_said_otherwise(env: dict[str, str]) -> None:
    create(env)
    create(env, "--scope", "read", "--expires", "12h")
    year, half_day = listed(env)
    assert life_of(year) == pytest.approx(365 * 86_400, abs=2)
    assert life_of(half_day) == pytest.approx(43_200, abs=2)
    assert (year["state"], half_day["state"]) == ("valid", "ends soon")


def life_of(row: dict[str, Any]) -> float:
    """Seconds from when a token was made until it ends."""
    ends = [datetime.fromisoformat(row[name]) for name in ("created_at", "expires_at")]
    return (ends[1] - ends[0]).total_seconds()


def test_a_revoked_token_is_listed_only_when_asked_for(env: dict[str, str]) -> None:
    create(env)
    token_id = listed(env)[0]["id"]
    done = call_app("token", "revoke", token_id, **env)
    assert (done.returncode, done.stdout) == (0, f"revoked {token_id} (nightly, read)\n")
    assert listed(env) == []
    assert listed(env, "--all")[0]["state"] == "revoked"
    table = call_app("token", "list", "--all", **env).stdout.splitlines()
    assert [line.split()[0] for line in table] == ["ID", token_id]
    assert "revoked" in table[1]
    assert "nightly" in table[1]


def test_revoking_what_is_not_there_is_a_sentence(env: dict[str, str]) -> None:
    assert sentence(call_app("token", "revoke", "nobody", **env)).startswith(
        "hub: There is no token"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--scope", "read", "--job-type", "backup"), "--scope ingest only"),
        (("--scope", "owner"), "invalid choice"),
        (("--scope", "ingest", "--job-type", "batch"), "reserved"),
        (("--scope", "ingest", "--job-type", "Back up"), "is not a job type"),
        (("--scope", "read", "--expires", "soon"), "such as 90d"),
        (("--scope", "read", "--expires", "0d"), "such as 90d"),
        (("--scope", "read", "--expires", "9999999w"), "longer than 3650d"),
    ],
)
def test_invalid_options_are_refused_with_a_reason(options: tuple[str, ...], message: str) -> None:
    refused = call_app("token", "create", "--name", "x", *options)
    assert refused.returncode
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


def test_without_a_key_nothing_is_made(tmp_path: Path) -> None:
    for command in (("key",), ("create", "--name", "x", "--scope", "read")):
        assert "HUB_TOKEN_KEY_FILE is not set" in sentence(call_app("token", *command))
    missing = str(tmp_path / "missing")
    message = sentence(
        call_app("token", "create", "--name", "x", "--scope", "read", HUB_TOKEN_KEY_FILE=missing)
    )
    assert missing in message
    assert "cannot be read" in message


def test_a_key_is_made_once_and_rotated(tmp_path: Path) -> None:
    path = tmp_path / "k"
    assert call_app("token", "key", str(path)).returncode == 0
    (first,) = read_keys(path)
    assert "--rotate" in sentence(call_app("token", "key", str(path)))
    done = call_app("token", "key", "--rotate", HUB_TOKEN_KEY_FILE=str(path))
    assert done.returncode == 0
    assert read_keys(path)[1] == first
    assert not any(key.decode() in done.stdout + done.stderr for key in read_keys(path))


def test_a_key_behind_a_link_is_rotated_where_it_is(tmp_path: Path) -> None:
    path, link = tmp_path / "k", tmp_path / "link"
    assert call_app("token", "key", str(path)).returncode == 0
    link.symlink_to(path)
    assert call_app("token", "key", "--rotate", str(link)).returncode == 0
    assert link.is_symlink()
    assert len(read_keys(path)) == 2


def test_a_database_without_the_table_is_a_sentence(env: dict[str, str], owner: Database) -> None:
    with owner.reading() as conn:
        conn.execute("ALTER TABLE tokens RENAME TO tokens_later")
        try:
            assert "python -m app migrate" in sentence(create(env))
        finally:
            conn.execute("ALTER TABLE tokens_later RENAME TO tokens")


def test_a_hub_that_others_can_reach_does_not_start_without_a_key(tmp_path: Path) -> None:
    env = {"HUB_HOST": "0.0.0.0", "HUB_DATA_DIR": str(tmp_path)}
    message = sentence(call_app("serve", **env))
    assert "HUB_HOST is 0.0.0.0" in message
    assert "python -m app token key" in message


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [(b"short", 0o600, "less than 32 bytes"), (FOREIGN_KEYS[0], 0o644, "chmod 600")],
)
def test_a_bad_key_does_not_start(tmp_path: Path, content: bytes, mode: int, message: str) -> None:
    path = tmp_path / "token.key"
    path.write_bytes(content)
    path.chmod(mode)
    env = {"HUB_TOKEN_KEY_FILE": str(path), "HUB_DATA_DIR": str(tmp_path)}
    assert message in sentence(call_app("serve", **env))


# A whole hub: two web processes, everything it says in a file.


class LoggedHub(HubProcess):
    """A hub whose whole output is kept."""

    @property
    def log(self) -> str:
        return (self.data_dir / "hub.log").read_text()

    def start(self) -> None:
        engine_template.copy_to(self.data_dir)
        with (self.data_dir / "hub.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app", "serve"],
                cwd=ROOT,
                env=self.env,
                stdout=log,
                stderr=log,
            )
        wait_until(self.is_healthy, START_SECONDS)

    def ask(
        self, method: str, path: str, headers: dict[str, str], body: str | None = None
    ) -> tuple[int, dict[str, str]]:
        """Status and headers of one request over its own connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoggedHub]:
    folder = tmp_path_factory.mktemp("guarded")
    key_file = folder / "token.key"
    assert run_app("token", "key", str(key_file)).returncode == 0
    env = {"HUB_TOKEN_KEY_FILE": str(key_file), "HUB_WORKERS": "2", "HUB_LOG_LEVEL": "DEBUG"}
    with LoggedHub(folder, HUB_HOST="0.0.0.0", **env) as hub:
        yield hub


def test_the_start_says_how_to_read_as_an_analyst_without_the_password(hub: LoggedHub) -> None:
    need("psql")
    (line,) = [line for line in hub.log.splitlines() if "Read-only SQL" in line]
    command = line.split(maxsplit=2)[2]
    assert (hub.data_dir / "analyst.password").read_text().strip() not in hub.log
    answer = subprocess.run(
        [*("sh", "-c"), f"{command} -XAtc 'SELECT current_user'"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert answer.stdout == "analyst\n", answer


def make(hub: LoggedHub, scope: str) -> str:
    """A token of that hub's, by its command."""
    done = run_app("token", "create", "--name", "n", "--scope", scope, **_settings(hub))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _settings(hub: LoggedHub) -> dict[str, str]:
    return {name: value for name, value in hub.env.items() if name.startswith("HUB_")}


def test_a_token_is_in_no_line_of_the_log(hub: LoggedHub) -> None:
    tokens = [make(hub, "admin"), make_token("admin", keys=FOREIGN_KEYS)]
    json_type = {"Content-Type": "application/json"}
    for token in tokens:
        for headers in (bearer(token), {"Cookie": f"hub_token={token}"}, {}):
            for path in ("/api/v1/jobs", "/", "/nowhere", "/api/v1/jobs?limit=x"):
                hub.ask("GET", path, headers)
            hub.ask("GET", f"/api/v1/jobs?token={token}", headers)
            hub.ask("GET", f"/?token={token}", {**headers, "Accept": "text/html"})
            for body in (json.dumps(make_body()), "{", "[]"):
                hub.ask("POST", "/api/v1/telemetry/backup/j", {**headers, **json_type}, body)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        hub.ask("POST", "/sign-in", form, f"token={token}&next=/")
        hub.ask("POST", "/sign-in", form, f"token={token}%00")
        hub.ask("POST", "/sign-out", {"Cookie": f"hub_token={token}"})
    assert '"message":"signed in"' in hub.log
    assert "GET /api/v1/jobs 200" in hub.log
    for part in {part for token in tokens for part in token.split(".")[1:]}:
        assert part not in hub.log


def test_a_revoked_token_is_soon_refused_by_every_process(hub: LoggedHub) -> None:
    assert POLL_SECONDS <= 10, "docs promise seconds"
    token = make(hub, "read")
    token_id = read_token(token, read_keys(Path(hub.env["HUB_TOKEN_KEY_FILE"]))).token_id
    assert {hub.ask("GET", "/api/v1/jobs", bearer(token))[0] for _ in range(20)} == {200}
    assert run_app("token", "revoke", token_id, **_settings(hub)).returncode == 0

    def is_refused_everywhere() -> bool:
        # Each connection may meet either process.
        return all(hub.ask("GET", "/api/v1/jobs", bearer(token))[0] == 401 for _ in range(20))

    wait_until(is_refused_everywhere)


def test_a_rotated_key_is_learnt_without_a_restart(hub: LoggedHub) -> None:
    before = make(hub, "read")
    assert run_app("token", "key", "--rotate", **_settings(hub)).returncode == 0
    after = make(hub, "read")
    with pytest.raises(Unauthorized):
        read_token(after, read_keys(Path(hub.env["HUB_TOKEN_KEY_FILE"]))[1:])
    wait_until(lambda: hub.ask("GET", "/api/v1/jobs", bearer(after))[0] == 200)
    assert hub.ask("GET", "/api/v1/jobs", bearer(before))[0] == 200


def test_a_hub_with_a_key_may_be_reached_and_asks_for_tokens(hub: LoggedHub) -> None:
    status, headers = hub.ask("GET", "/api/v1/jobs", {})
    assert status == 401
    assert headers["www-authenticate"].startswith("Bearer ")
    status, headers = hub.ask("GET", "/", {"Accept": "text/html"})
    assert (status, headers["location"]) == (302, "./sign-in?next=%2F")
