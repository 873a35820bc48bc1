"""What the pool's owner does: tokens, the seed's own token, lists; by object and by command line."""

import io
import json
from pathlib import Path

import pytest

from services.authority import command_line
from services.authority.__main__ import main
from services.authority.administration import Administration
from services.authority.authority import Authority
from services.authority.command_line import run
from services.authority.errors import UnknownEntry
from services.authority.tls import pin_of
from services.common.errors import Broken, InvalidInput, InvalidSetting, Refused
from services.common.settings import AuthoritySettings
from services.common.token import JoinToken
from tests.unit.authority.authority_fakes import START, Clock, Pool


class TestTokens:
    def test_a_token_leads_to_this_authority(self, pool: Pool) -> None:
        made = pool.owner.create_token("worker", 3600, 5)
        token = JoinToken.parse(made["token"])

        assert (token.pool, token.authority, token.id) == ("calyx", "seed.example:7443", made["id"])
        assert token.pin == pin_of(pool.authority.state.tls)
        assert made["expires_at"] == START + 3600

    def test_it_names_the_port_that_others_reach_not_the_one_inside(
        self, authority: Authority, clock: Clock
    ) -> None:
        settings = authority.settings.model_copy(update={"authority_port": 17443})
        there = Authority(settings, authority.state, authority.database, authority.authorities)

        text = Administration(there, clock).create_token("user", 60, 1)["token"]
        assert JoinToken.parse(text).authority == "seed.example:17443"

    def test_an_ipv6_address_is_put_in_brackets(self, authority: Authority, clock: Clock) -> None:
        settings = authority.settings.model_copy(update={"public_address": "2001:db8::1"})
        there = Authority(settings, authority.state, authority.database, authority.authorities)

        text = Administration(there, clock).create_token("user", 60, 1)["token"]
        assert JoinToken.parse(text).authority == "[2001:db8::1]:7443"

    def test_without_an_address_no_token_can_be_made(self, authority: Authority, clock: Clock) -> None:
        settings = authority.settings.model_copy(update={"public_address": None})
        there = Authority(settings, authority.state, authority.database, authority.authorities)

        with pytest.raises(InvalidSetting, match="set CALYX_PUBLIC_ADDRESS"):
            Administration(there, clock).create_token("worker", 60, 1)

    def test_checking_says_what_a_token_is_good_for(self, pool: Pool, clock: Clock) -> None:
        token = pool.token("user", ttl=60, uses=2)
        pool.enrol("alice", token)

        assert pool.owner.check_token(token.text()) == {
            "id": token.id,
            "role": "user",
            "created_at": START,
            "expires_at": START + 60,
            "uses": 2,
            "used": 1,
            "revoked_at": None,
            "state": "valid",
        }
        clock.pass_by(60)
        with pytest.raises(Refused, match="expired"):
            pool.owner.check_token(token.text())

    def test_a_token_of_another_pool_is_told_apart(self, pool: Pool) -> None:
        token = pool.token()
        with pytest.raises(InvalidInput, match="for another authority — its pool is theirs"):
            pool.owner.check_token(JoinToken("theirs", "h:1", "0" * 64, token.id, token.secret).text())
        with pytest.raises(Refused, match="made no such token"):
            pool.owner.check_token(JoinToken("calyx", "h:1", token.pin, token.id, "wrong").text())

    def test_lists_say_what_became_of_each(self, pool: Pool, clock: Clock) -> None:
        for ttl, uses in ((60, 1), (3600, 1), (3600, 1), (7200, 1)):
            token = pool.token(ttl=ttl, uses=uses)
            clock.pass_by(1)
            if ttl == 7200:
                pool.enrol("alice", token)
        pool.owner.revoke_token(pool.owner.tokens()[1]["id"])
        clock.pass_by(100)

        assert [one["state"] for one in pool.owner.tokens()] == ["used up", "revoked", "valid", "expired"]

    def test_revoking_an_unknown_one_is_said(self, pool: Pool) -> None:
        with pytest.raises(UnknownEntry, match="none with the id ffff"):
            pool.owner.revoke_token("ffff")


class TestCommandLine:
    @pytest.fixture
    def call(self, settings: AuthoritySettings, pool: Pool, capsys: pytest.CaptureFixture[str]):
        """Carry out a command on the pool, whose first keys are made, and return what it prints."""

        def carry_out(*arguments: str) -> str:
            run(arguments, settings)
            return capsys.readouterr().out

        return carry_out

    def test_a_token_from_birth_to_death(self, call, monkeypatch: pytest.MonkeyPatch) -> None:
        made = json.loads(call("token", "create", "--role", "worker", "--ttl", "90m", "--uses", "5"))
        assert made.keys() == {"token", "id", "expires_at"}
        checked = json.loads(call("token", "check", made["token"]))
        assert (checked["uses"], checked["expires_at"] - checked["created_at"]) == (5, 5400)
        monkeypatch.setattr("sys.stdin", io.StringIO(made["token"] + "\n"))
        assert json.loads(call("token", "check", "-")) == checked
        assert json.loads(call("token", "list")) == [checked]
        assert json.loads(call("token", "revoke", made["id"])) == {"id": made["id"]}
        with pytest.raises(Refused, match="was revoked"):
            call("token", "check", made["token"])

    def test_nodes_are_listed_and_revoked(self, call, pool: Pool) -> None:
        assert call("nodes").split() == ["NAME", "ROLE", "ADDRESS", "STATE", "SEEN", "ID"]
        alice = pool.enrol("alice")
        pool.enrol("bob", key=2)

        assert json.loads(call("revoke", "alice", "--reason", "stolen")) == {"id": alice.node_id}
        head, first, second = call("nodes").splitlines()
        assert first.split() == ["alice", "worker", "10.77.0.1", "revoked", "never", alice.node_id]
        assert second.index("10.77.0.2") == head.index("ADDRESS")
        assert [(one["name"], one["reason"]) for one in json.loads(call("nodes", "--json"))] == [
            ("alice", "stolen"),
            ("bob", None),
        ]

    def test_a_backup_and_back(self, call, pool: Pool, tmp_path: Path) -> None:
        pool.enrol("alice")
        path = str(tmp_path / "backup.tar")
        call("backup", path)
        with pytest.raises(InvalidInput, match="File exists"):
            call("backup", path)
        pool.owner.revoke_node("alice", "x")
        with pytest.raises(Refused, match="--replace"):
            call("restore", path)
        pool.authority.database.close()
        call("restore", path, "--replace")
        assert pool.states() != {"alice": "revoked"}
        with pytest.raises(InvalidInput, match=r"restoring: .*missing: No such file"):
            call("restore", str(tmp_path / "missing"))

    def test_a_disk_that_fails_is_said_in_one_line(self, call, monkeypatch: pytest.MonkeyPatch) -> None:
        with open("/dev/full", "w") as full:
            monkeypatch.setattr("sys.stdout", full)
            with pytest.raises(Broken, match="using a file: No space left on device"):
                call("backup", "-")

    def test_without_a_command_it_serves(
        self, settings: AuthoritySettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        served = []
        monkeypatch.setattr(command_line, "serve", served.append)
        run([], settings)

        assert [authority.settings for authority in served] == [settings]

    @pytest.mark.parametrize(
        "arguments",
        [
            ["dance"],
            ["token"],
            ["token", "create"],
            ["token", "create", "--role", "seed"],
            ["token", "create", "--role", "user", "--ttl", "soon"],
            ["token", "create", "--role", "user", "--uses", "many"],
            ["revoke"],
        ],
    )
    def test_wrong_usage_ends_with_2(self, call, arguments: list[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            call(*arguments)
        assert ended.value.code == 2

    def test_an_error_is_one_line_and_exit_code_1(
        self, settings: AuthoritySettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("CALYX_AUTHORITY_DIR", "/dev/null/calyx")
        assert main(["nodes"]) == 1
        monkeypatch.setenv("CALYX_MESH_NETWORK", "10.0.0.0/31")
        assert main(["nodes"]) == 1

        first, second = capsys.readouterr().err.splitlines()
        assert first.startswith("authority: opening the authority's folder /dev/null/calyx: ")
        assert second.startswith(
            "authority: setting CALYX_MESH_NETWORK: must be a network between /8 and /30"
        )
