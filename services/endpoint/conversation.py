"""A session in the swarm and everything said in it: what outlives a single answer."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.common.errors import InvalidInput
from services.endpoint.detokenizer import Detokenizer
from services.endpoint.engine import Model, Server, Session
from services.endpoint.errors import TooLong, WrongField
from services.endpoint.guessing import Guesser
from services.endpoint.sampling import SamplingParameters

MAX_STOP_SEQUENCES = 16
MAX_STOP_SEQUENCE_LENGTH = 256


@dataclass(frozen=True)
class Request:
    """What a caller of any protocol asks for.

    Attributes:
        prompt: text, or its tokens, to add to the conversation; ``None`` goes on from where it is.
        sampling: how tokens are chosen.
        max_length: the most tokens that the whole conversation may have after this answer.
        max_new_tokens: the most tokens that the answer may have. With neither, it may fill the session.
        stop_sequences: texts that end the answer.
        keep_stop: whether the one that did is part of it.
        tokens_per_chunk: how many tokens, at least, make a piece of the answer; ``None``: it is one piece.

    Raises:
        InvalidInput: a limit or a stop sequence can never work.
    """

    prompt: str | tuple[int, ...] | None
    sampling: SamplingParameters = field(default_factory=SamplingParameters)
    max_length: int | None = None
    max_new_tokens: int | None = None
    stop_sequences: tuple[str, ...] = ()
    keep_stop: bool = True
    tokens_per_chunk: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_length", "max_new_tokens", "tokens_per_chunk"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise WrongField(f"{name}: must be at least 1, not {value}")
        if len(self.stop_sequences) > MAX_STOP_SEQUENCES:
            raise WrongField(f"stop sequences: at most {MAX_STOP_SEQUENCES}, not {len(self.stop_sequences)}")
        for sequence in self.stop_sequences:
            if not 1 <= len(sequence) <= MAX_STOP_SEQUENCE_LENGTH:
                raise WrongField(
                    f"stop sequences: each has 1 to {MAX_STOP_SEQUENCE_LENGTH} letters, not {len(sequence)}"
                )
        for text in (self.prompt, *self.stop_sequences):
            if isinstance(text, str):
                require_unicode(text)


@dataclass(frozen=True)
class Plan:
    """A request that was checked against its conversation.

    Attributes:
        request: the request.
        prompt_ids: the prompt's tokens; [] to go on from where the conversation is.
        end: how many tokens the conversation has at most when the answer ends.
        stop_ids: stop sequences that are one token, by that token's id.
    """

    request: Request
    prompt_ids: list[int]
    end: int
    stop_ids: dict[int, str]


class Conversation:
    """The tokens said so far, prompts and answers, and the session whose servers have most of them.

    The servers lack a prompt that was just added and, always, the last token of an answer: it was chosen
    here, and goes with the next step. Both are simply what comes after the session's position.

    Args:
        model: the model that answers.
        max_length: the most tokens it may ever hold; ``None`` makes room for one answer.

    Raises:
        InvalidInput: the model cannot hold ``max_length`` tokens.
    """

    def __init__(self, model: Model, max_length: int | None = None) -> None:
        if max_length is not None and not 1 <= max_length <= model.max_length:
            raise InvalidInput(
                f"max_length: must be between 1 and {model.max_length} for {model.name}, not {max_length}"
            )
        self.model = model
        self.tokens: list[int] = []
        self.detokenizer = Detokenizer(model.tokenizer)
        self.guesser = Guesser(model.guess)
        self.usable = True
        """False once an answer broke off: the servers may have tokens that this side knows nothing of."""
        self._max_length = max_length
        self._session: Session | None = None

    def plan(self, request: Request) -> Plan:
        """Tokenize a request and check that its answer fits; changes nothing.

        Raises:
            InvalidInput: there is no prompt, or it names a token that the model lacks, or a bias does.
            TooLong: there is no room for the prompt and one more token.
        """
        prompt_ids = self.prompt_ids(request.prompt)
        if any(token >= self.model.vocab_size for token in request.sampling.logit_bias):
            raise WrongField(f"logit_bias: {self.model.name} has tokens 0 to {self.model.vocab_size - 1}")
        begin = len(self.tokens) + len(prompt_ids)
        room = self._max_length or self.model.max_length
        end = room
        if request.max_length is not None:
            end = request.max_length
        elif request.max_new_tokens is not None:
            end = begin + request.max_new_tokens
        # "Maximum length exceeded" makes chat.petals.dev's page open a longer session, and clients of the OpenAI
        # API know "maximum context length".
        limit = "this session's length is" if self._max_length else "this model's maximum context length is"
        if begin >= min(end, room):
            limit = f"{limit} {room}" if room <= end else f"{end} are asked for with the answer"
            raise TooLong(
                f"Maximum length exceeded: the prompt and what was said before have {begin} tokens, {limit}",
                "shorten the prompt or raise the limit",
            )
        if end > room:
            raise TooLong(
                f"Maximum length exceeded: {end} tokens, prompt included, are asked for, {limit} {room}",
                "ask for fewer, or open a longer session if the model allows it",
            )
        stops = ((self.single_token(sequence), sequence) for sequence in request.stop_sequences)
        return Plan(request, prompt_ids, end, {token: text for token, text in stops if token is not None})

    def session(self, plan: Plan) -> Session:
        """Return the session, which opens with the first answer and has no more room than is needed."""
        if self._session is None:
            self._session = self.model.open_session(self._max_length or plan.end)
        return self._session

    @property
    def servers(self) -> Sequence[Server]:
        """Who answers now, in the order of blocks; nobody before the first token."""
        return () if self._session is None else self._session.servers

    def single_token(self, text: str) -> int | None:
        """Return the id of the token that is exactly this text, if there is one."""
        ids = self.model.tokenizer(text, add_special_tokens=False)["input_ids"]
        return int(ids[0]) if len(ids) == 1 else None

    async def close(self) -> None:
        """Free the servers' caches."""
        self.usable = False
        if self._session is not None:
            await self._session.close()

    def prompt_ids(self, prompt: str | Sequence[int] | None) -> list[int]:
        """Return the tokens of a prompt that is added to what was said before; [] for ``None``.

        Raises:
            InvalidInput: there are none, or the model lacks one.
        """
        if prompt is None:
            if not self.tokens:
                raise InvalidInput("there is nothing to continue yet", "send a text first")
            return []
        if isinstance(prompt, str):
            return self._encode(prompt)
        if not prompt or not all(0 <= token < self.model.vocab_size for token in prompt):
            raise InvalidInput(f"the prompt needs tokens, each from 0 to {self.model.vocab_size - 1}")
        return list(prompt)

    def _encode(self, text: str) -> list[int]:
        if not text:
            raise InvalidInput("the text is empty", "send at least one character")
        require_unicode(text)
        tokenizer = self.model.tokenizer
        # What begins or ends a text for the model does so once, not with every turn of a dialogue.
        ids: list[int] = tokenizer(text, add_special_tokens=not self.tokens, verbose=False)["input_ids"]
        if len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id:
            del ids[0]  # chat templates write the beginning of text themselves
        return ids


def require_unicode(text: str) -> None:
    """Refuse text that no tokenizer takes.

    Raises:
        InvalidInput: it holds one half of a surrogate pair without the other, which is legal in JSON.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(
            "a text holds half of a surrogate pair", "send complete Unicode characters"
        ) from None
