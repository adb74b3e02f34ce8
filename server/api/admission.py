"""Admission: what a request would cost, told from its body alone, so that refusing it costs a full queue nothing."""

from server.loaded import LoadedModel

AnyPrompt = str | list[str] | list[int] | list[list[int]]


def require_room(model: LoadedModel, prompt: AnyPrompt, *, n: int, max_tokens: int) -> None:
    """Refuse a request that the queue has no room for, before its prompt is encoded.

    A text is priced at its bytes, since no token is shorter than one, and at no more than a slot holds; what it really
    takes is counted when it is queued.

    Args:
        model: whose queue it is.
        prompt: as the body has it, not empty.
        n: samples of each prompt.
        max_tokens: of each sample.

    Raises:
        OverloadedError: there is no room.
    """
    engine = model.engine
    longest = engine.backend.max_length - max_tokens
    lengths = prompt_bounds(prompt, longest)
    num_samples = len(lengths) * n
    if longest > 0 and num_samples <= engine.queue_limit:  # else it is refused for good, once its prompts are known
        engine.require_room(num_samples, sum(lengths) + num_samples * max_tokens)


def prompt_bounds(prompt: AnyPrompt, longest: int) -> list[int]:
    """Return how many tokens each prompt has at most.

    Args:
        prompt: one text, several, or the token ids of one or of several.
        longest: tokens of a prompt that can be taken; longer ones are refused later, for what they are.
    """
    if isinstance(prompt, str):
        return [_bound(prompt, longest)]
    if isinstance(prompt[0], int):
        return [min(len(prompt), longest)]
    return [_bound(one, longest) for one in prompt if not isinstance(one, int)]


def _bound(prompt: str | list[int], longest: int) -> int:
    return min(len(prompt.encode()) if isinstance(prompt, str) else len(prompt), longest)
