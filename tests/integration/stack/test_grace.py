"""A server that is stopped with a grace: the swarm hears of it at once, open sessions go on."""

import json
import threading

from tests.integration.stack.pool import MODEL, Pool, eventually

LIMIT = 300


def test_a_session_goes_on_while_its_server_leaves(pool: Pool) -> None:
    server = pool.containers()["server"]
    with pool.socket() as websocket:

        def ask(text: str) -> bool:
            websocket.send(json.dumps({"type": "generate", "inputs": text, "max_new_tokens": 3}))
            return bool(json.loads(websocket.recv(90))["ok"])

        websocket.send(json.dumps({"type": "open_inference_session", "model": MODEL, "max_length": 64}))
        assert json.loads(websocket.recv(90))["ok"]
        assert ask("Once upon a time")

        code, output = server.exec_run(["python", "-m", "services.server.pausing", str(LIMIT)])
        assert code == 0, output
        stopping = threading.Thread(target=server.stop, kwargs={"timeout": LIMIT})
        stopping.start()
        eventually(lambda: _is_missed(pool))
        went_on = ask(" and then")
        ran = pool.containers()["server"].status == "running"
    stopping.join(60)
    ended = pool.containers()["server"].attrs["State"]
    pool.up("--no-build")

    assert went_on
    assert ran
    assert (ended["Status"], ended["ExitCode"]) == ("exited", 0)
    pool.works()


def _is_missed(pool: Pool) -> None:
    answer = pool.post(inputs="The capital of France is", max_new_tokens=3)
    assert not answer["ok"]
