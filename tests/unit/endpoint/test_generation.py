"""One answer and the conversation around it: what is sent, what comes out, where it ends, what is refused."""

import asyncio

import pytest

from services.common.errors import InvalidInput
from services.endpoint.conversation import Conversation, Request
from services.endpoint.generation import Chunk, Finish, Generation
from services.endpoint.sampling import SamplingParameters
from tests.unit.endpoint.fake_model import FakeModel


def run(conversation: Conversation, request: Request) -> list[Chunk]:
    async def generate() -> list[Chunk]:
        generation = Generation(conversation, conversation.plan(request))
        chunks = []
        while generation.finish is None:
            await generation.step()
            if generation.ready:
                chunks.append(generation.take())
        return chunks

    return asyncio.run(generate())


def only(chunks: list[Chunk]) -> Chunk:
    assert len(chunks) == 1
    return chunks[0]


def ids(model: FakeModel, text: str) -> list[int]:
    return model.tokenizer(text, add_special_tokens=False)["input_ids"]


def test_an_answer_is_one_chunk_that_ends_with_the_text(model: FakeModel) -> None:
    chunk = only(run(Conversation(model, 100), Request("Tell me", max_new_tokens=50)))
    assert chunk == Chunk("Once upon a time.", 18, Finish("end_of_text"))


def test_the_prompt_goes_in_one_step_and_then_each_token(model: FakeModel) -> None:
    run(Conversation(model, 100), Request("Hi", max_new_tokens=3))
    assert model.sessions[0].steps == [ids(model, "Hi"), ids(model, "O"), ids(model, "n")]


def test_max_length_counts_the_prompt(model: FakeModel) -> None:
    chunk = only(run(Conversation(model, 100), Request("1234567", max_length=10)))
    assert chunk == Chunk("Onc", 3, Finish("length"))


def test_with_no_limit_an_answer_fills_the_session() -> None:
    model = FakeModel("x" * 200)
    assert only(run(Conversation(model, 30), Request("1234567"))).tokens == 23


def test_a_session_without_a_length_has_room_for_one_answer(model: FakeModel) -> None:
    run(Conversation(model), Request("Hi", max_new_tokens=4))
    assert model.sessions[0].max_length == 6


def test_going_on_begins_with_the_token_that_was_chosen_last(model: FakeModel) -> None:
    conversation = Conversation(model, 100)
    first = only(run(conversation, Request("Hi", max_new_tokens=4)))
    second = only(run(conversation, Request(None, max_new_tokens=5)))
    third = only(run(conversation, Request("? ", max_new_tokens=2)))
    assert (first.text, second.text, third.text) == ("Once", " upon", " a")
    assert model.sessions[0].steps[4] == ids(model, "e")
    assert model.sessions[0].steps[9] == ids(model, "n? ")
    assert len(model.sessions) == 1


def test_chunks_have_as_many_tokens_as_asked_for(model: FakeModel) -> None:
    chunks = run(Conversation(model, 100), Request("Hi", tokens_per_chunk=4))
    assert [chunk.text for chunk in chunks] == ["Once", " upo", "n a ", "time", "."]
    assert [chunk.tokens for chunk in chunks] == [4, 4, 4, 4, 2]
    assert [chunk.finish for chunk in chunks] == [None] * 4 + [Finish("end_of_text")]


def test_a_chunk_waits_for_the_rest_of_its_character() -> None:
    chunks = run(Conversation(FakeModel("ö🙂"), 100), Request("Hi", tokens_per_chunk=1))
    assert [(chunk.text, chunk.tokens) for chunk in chunks] == [("ö", 2), ("🙂", 4), ("", 1)]


def test_a_character_that_the_limit_cut_comes_with_the_next_answer() -> None:
    conversation = Conversation(FakeModel("a🙂b"), 100)
    assert only(run(conversation, Request("Hi", max_new_tokens=3))).text == "a"
    assert only(run(conversation, Request(None, max_new_tokens=3))).text == "🙂b"


@pytest.mark.parametrize("every", [None, 1, 5])
@pytest.mark.parametrize(("stop", "text"), [("upon", "Once upon"), (" a t", "Once upon a t"), ("O", "O")])
def test_a_stop_sequence_ends_the_answer_and_belongs_to_it(
    model: FakeModel, every: int | None, stop: str, text: str
) -> None:
    request = Request("Hi", stop_sequences=("zzz", stop), tokens_per_chunk=every)
    chunks = run(Conversation(model, 100), request)
    assert "".join(chunk.text for chunk in chunks) == text
    assert chunks[-1].finish == Finish("stop_sequence", stop)


def test_the_earliest_stop_sequence_counts(model: FakeModel) -> None:
    chunk = only(run(Conversation(model, 100), Request("Hi", stop_sequences=("time", "on", "nce up"))))
    assert chunk.finish == Finish("stop_sequence", "nce up")


def test_a_stop_sequence_in_the_prompt_ends_nothing(model: FakeModel) -> None:
    chunk = only(run(Conversation(model, 100), Request("upon", stop_sequences=("upon",))))
    assert chunk.text == "Once upon"


def test_a_special_token_can_be_a_stop_sequence_and_has_no_text() -> None:
    model = FakeModel("Yes.<|im_start|>user")
    chunk = only(run(Conversation(model, 100), Request("Hi", stop_sequences=("<|im_start|>",))))
    assert chunk == Chunk("Yes.", 5, Finish("stop_sequence", "<|im_start|>"))


def test_special_tokens_in_the_prompt_become_their_ids(model: FakeModel) -> None:
    run(Conversation(model, 100), Request("<|im_start|>u", max_new_tokens=1))
    assert model.sessions[0].steps[0] == [
        model.tokenizer.convert_tokens_to_ids("<|im_start|>"),
        *ids(model, "u"),
    ]


def test_a_text_begins_once() -> None:
    model = FakeModel(bos=True)
    conversation = Conversation(model, 100)
    run(conversation, Request("A", max_new_tokens=1))
    run(conversation, Request("B", max_new_tokens=1))
    bos = model.tokenizer.bos_token_id
    assert model.sessions[0].steps == [[bos, *ids(model, "A")], ids(model, "OB")]


def test_a_beginning_that_a_chat_template_wrote_is_not_doubled() -> None:
    model = FakeModel(bos=True)
    run(Conversation(model, 100), Request("<|bos|>A", max_new_tokens=1))
    assert model.sessions[0].steps[0] == [model.tokenizer.bos_token_id, *ids(model, "A")]


@pytest.mark.parametrize("text", ["a\0b", "\ufeff", "\u202e", " "])
def test_odd_characters_are_text_too(model: FakeModel, text: str) -> None:
    run(Conversation(model, 100), Request(text, max_new_tokens=1))
    assert model.tokenizer.decode(model.sessions[0].steps[0]) == text


def test_the_repetition_penalty_knows_the_prompt() -> None:
    model = FakeModel("O")
    request = Request("O", SamplingParameters(repetition_penalty=50.0), max_new_tokens=1)
    model.logits = lambda _: model_logits  # type: ignore[method-assign]
    model_logits = FakeModel.logits(model, 1)
    model_logits[ids(model, "P")[0]] = 1.0
    assert only(run(Conversation(model, 10), request)).text == "P"


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (Request("", max_new_tokens=1), "the text is empty"),
        (Request(None, max_new_tokens=1), "nothing to continue"),
        (Request("x" * 19, max_new_tokens=2), "Maximum length exceeded: 21 tokens"),
        (Request("x" * 21, max_new_tokens=1), "Maximum length exceeded: the prompt .* 21 tokens"),
        (Request("x" * 9000), "Maximum length exceeded: the prompt .* 9000 tokens"),
        (Request("xxx", max_length=3), "Maximum length exceeded: the prompt .* 3 tokens"),
        (Request("xxx", max_length=21), "Maximum length exceeded: 21 tokens"),
        (Request("xxx", max_new_tokens=10**30), "Maximum length exceeded"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    model: FakeModel, request_: Request, problem: str
) -> None:
    conversation = Conversation(model, 20)
    with pytest.raises(InvalidInput, match=problem):
        conversation.plan(request_)
    assert conversation.tokens == []
    assert only(run(conversation, Request("Hi", max_new_tokens=4))).text == "Once"


def test_a_full_session_says_so(model: FakeModel) -> None:
    conversation = Conversation(model, 6)
    run(conversation, Request("Hi"))
    with pytest.raises(InvalidInput, match="Maximum length exceeded"):
        conversation.plan(Request(None, max_new_tokens=1))


@pytest.mark.parametrize("max_length", [0, -5, 513, 10**30])
def test_a_session_that_the_model_cannot_hold_is_refused(model: FakeModel, max_length: int) -> None:
    with pytest.raises(InvalidInput, match="max_length: must be between 1 and 512"):
        Conversation(model, max_length)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens: must be at least 1"),
        ({"max_length": -1}, "max_length: must be at least 1"),
        ({"tokens_per_chunk": 0}, "tokens_per_chunk: must be at least 1"),
        ({"stop_sequences": ("",)}, "stop sequences"),
        ({"stop_sequences": ("x" * 257,)}, "stop sequences"),
        ({"stop_sequences": ("x",) * 17}, "stop sequences: at most 16"),
        ({"stop_sequences": ("\ud800",)}, "surrogate"),
        ({"prompt": "half \udc00"}, "surrogate"),
    ],
)
def test_a_request_that_can_never_work_is_refused(fields: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        Request(**{"prompt": "x", **fields})


PARROT = "so it goes, and so it goes, and so it goes, and so it ends."


def guessed(model: FakeModel, request: Request, *more: Request) -> tuple[list[Chunk], list[int]]:
    """Run answers of one conversation with guesses; return them and how many passes each took."""

    async def generate() -> tuple[list[Chunk], list[int]]:
        conversation = Conversation(model, 200)
        chunks, passes = [], []
        for one in (request, *more):
            generation = Generation(conversation, conversation.plan(one), speculative_tokens=8)
            while generation.finish is None:
                await generation.step()
            chunks.append(generation.take())
            passes.append(generation.passes)
        return chunks, passes

    return asyncio.run(generate())


def test_guesses_change_nothing_but_the_number_of_passes() -> None:
    request = Request("Hi", SamplingParameters(logprobs=2), max_new_tokens=80)
    alone = only(run(Conversation(FakeModel(PARROT), 200), request))

    [chunk], [passes] = guessed(FakeModel(PARROT), request)

    assert chunk == alone
    assert chunk.tokens == len(PARROT) + 1
    assert passes < 0.6 * chunk.tokens


@pytest.mark.parametrize("guesses", [0, 8])
@pytest.mark.parametrize("stop", ["it ends", "so it g", "zzz"])
def test_probabilities_come_with_the_text_of_their_tokens(guesses: int, stop: str) -> None:
    request = Request(
        "Hi", SamplingParameters(logprobs=0), stop_sequences=(stop,), keep_stop=False, tokens_per_chunk=1
    )

    async def generate(model: FakeModel) -> list[Chunk]:
        conversation = Conversation(model, 200)
        generation = Generation(conversation, conversation.plan(request), guesses)
        chunks = []
        while generation.finish is None:
            await generation.step()
            if generation.ready:
                chunks.append(generation.take())
        return chunks

    model = FakeModel(PARROT)
    chunks = asyncio.run(generate(model))
    assert "".join(chunk.text for chunk in chunks) == PARROT.partition(stop)[0]
    for chunk in chunks:
        assert model.tokenizer.decode([one.token for one in chunk.logprobs]) == chunk.text


def test_guesses_never_go_beyond_the_limit() -> None:
    for limit in range(15, 40):
        model = FakeModel(PARROT)
        [chunk], _ = guessed(model, Request("Hi", max_new_tokens=limit))
        assert (chunk.text, chunk.tokens) == (PARROT[:limit], limit)
        assert model.sessions[0].position == 2 + limit - 1


def test_an_answer_that_ends_among_its_guesses_goes_on_from_there() -> None:
    model = FakeModel(PARROT)

    [first, second], _ = guessed(
        model,
        Request("Hi", stop_sequences=("goes, and so it goes, an",), max_new_tokens=90),
        Request(None, max_new_tokens=90),
    )

    assert first.text + second.text == PARROT


def test_the_first_and_the_last_piece_tell_who_answers(model: FakeModel) -> None:
    chunks = run(Conversation(model, 100), Request("Hi", max_new_tokens=3, tokens_per_chunk=1))
    assert [list(chunk.servers) for chunk in chunks] == [model.servers, [], model.servers]
