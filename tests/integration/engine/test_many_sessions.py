"""Many sessions on two servers that batch: each text is that of plain transformers, whoever leaves beside it."""

from concurrent.futures import ThreadPoolExecutor

from tests.blocking_client import BlockingClient
from tests.integration.engine.reference import Text, continue_greedily, plain_transformers
from tests.swarm_processes import Swarm, until_served

PROMPTS = (1, 300, 7, 2, 120, 33)
NEW = 24
SECONDS = 300


def follow(client: BlockingClient, text: Text) -> list[int]:
    """Return the greedy tokens that the swarm makes after the text's prompt."""
    session = client.open_session(text.length)
    try:
        first = int(session.step(text.prompt).argmax())
        return [first, *continue_greedily(session, first, NEW - 1)]
    finally:
        session.close()


def leave_soon(client: BlockingClient, text: Text) -> None:
    """Take a few steps beside the others and go without finishing."""
    session = client.open_session(text.length)
    session.step(text.prompt)
    continue_greedily(session, text.tokens[0], 3)
    session.close()


def test_texts_at_once_are_those_of_plain_transformers(swarm: Swarm, model: str) -> None:
    texts = [plain_transformers(swarm.models / model, prompt=length, new=NEW) for length in PROMPTS]
    length = sum(text.length for text in texts) + texts[-1].length
    # Memory for one session less than are opened, so that some wait until others have left
    how = {"CALYX_SCHEDULER": "batched", "CALYX_BATCH_TOKENS": "32", "CALYX_ATTN_CACHE_TOKENS": str(length)}
    servers = [swarm.serve(model, blocks, CALYX_NUM_HANDLERS="2", **how) for blocks in ("0:2", "2:4")]
    for server in servers:
        server.until_logged("serving")
    with swarm.client(model) as client, ThreadPoolExecutor(2 * len(texts)) as threads:
        until_served(client)
        leaving = [threads.submit(leave_soon, client, text) for text in texts[-2:]]
        following = [threads.submit(follow, client, text) for text in texts]
        made = [one.result(SECONDS) for one in following]
        for one in leaving:
            one.result(SECONDS)
    swarm.stop(*servers)

    assert made == [text.tokens for text in texts]
