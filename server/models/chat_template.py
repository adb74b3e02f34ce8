"""ChatTemplate: a conversation written out as its model was taught to read one, by the template in its folder."""

import json
import logging
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from server.errors import InvalidRequestError
from server.models.json_file import read_json

log = logging.getLogger(__name__)

LIMIT_S = 2.0  # a template takes less than a millisecond
MAX_CHARACTERS = 4 * 2**20
_WORKER = Path(__file__).with_name("chat_worker.py")
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")
_NONCHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)]  # never part of a text, says Unicode
_ELSEWHERE = "or write the conversation out yourself, for POST /v1/completions"


class ChatTemplate:
    """A model's template, run in a process of its own that is started when it is first needed.

    All methods may be called from several threads at once.
    """

    def __init__(self, source: str, values: Mapping[str, str] | None = None, *, limit_s: float = LIMIT_S) -> None:
        """Keep a template for later.

        Args:
            source: in Jinja.
            values: names of special tokens that it may use, such as `bos_token`.
            limit_s: seconds that it may take for a conversation.
        """
        self._source = source
        self._values = dict(values or {})
        self._limit_s = limit_s
        self._worker: subprocess.Popen[str] | None = None
        self._turn = threading.Lock()

    @classmethod
    def from_folder(cls, folder: Path) -> "ChatTemplate | None":
        """Find a model's template: `chat_template.jinja`, or `chat_template` in `tokenizer_config.json`.

        Args:
            folder: of the model.

        Returns:
            None where the folder has none: the model was not made for conversations.

        Raises:
            ModelError: a file is there and cannot be read.
        """
        file, settings = folder / "chat_template.jinja", folder / "tokenizer_config.json"
        config = read_json(settings) if settings.is_file() else {}
        source = file.read_text(encoding="utf-8") if file.is_file() else _default(config.get("chat_template"))
        if source is None:
            return None
        values = {name: _name(config[name]) for name in _SPECIAL if config.get(name) is not None}
        return cls(source, values)

    def render(self, messages: Sequence[Mapping[str, str]], special_names: tuple[str, ...]) -> list[str]:
        """Write a conversation out, up to where the model's answer begins.

        Names of special tokens that a message holds stay plain text: the result is cut within each of them, and what is
        encoded piece by piece has only the special tokens that the template wrote.

        Args:
            messages: each with `role` and `content`.
            special_names: of the model's tokenizer.

        Returns:
            Pieces of the text, at least one; joined they are the whole.

        Raises:
            InvalidRequestError: the template refuses the messages, fails on them, or takes too long.
        """
        joint = self._joint(messages)
        parted = [{**message, "content": disarm(message["content"], special_names, joint)} for message in messages]
        answer = self._ask({"messages": parted, "add_generation_prompt": True})
        if "text" in answer:
            return str(answer["text"]).split(joint)
        raise InvalidRequestError(self._reason(answer), param="messages")

    def close(self) -> None:
        """End the process."""
        with self._turn:
            self._end()

    def _joint(self, messages: Sequence[Mapping[str, str]]) -> str:
        used = {character for message in messages for character in message["content"]} | set(self._source)
        joint = next((character for character in _NONCHARACTERS if character not in used), None)
        if joint is None:
            raise InvalidRequestError("messages hold all of U+FDD0 to U+FDEF, which no text has", param="messages")
        return joint

    def _ask(self, conversation: dict[str, Any]) -> dict[str, Any]:
        with self._turn:
            if self._worker is not None and self._worker.poll() is not None:
                self._end()  # somebody has killed it
            worker = self._worker = self._worker or self._start()
            assert worker.stdin is not None
            assert worker.stdout is not None
            try:
                worker.stdin.write(json.dumps(conversation) + "\n")
                worker.stdin.flush()
                line = worker.stdout.readline()
            except BrokenPipeError:
                line = worker.stdout.readline()
            answer: dict[str, Any] = json.loads(line) if line.endswith("\n") else {"died": self._end()}
            if "broken" in answer:
                log.error("the chat template of the model is broken: %s", answer["broken"])
                self._end()
            return answer

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-I", str(_WORKER)]
        worker = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,  # a Ctrl-C is for the server, which then closes its input
        )
        assert worker.stdin is not None
        task = {
            "source": self._source, "values": self._values, "limit_s": self._limit_s, "max_characters": MAX_CHARACTERS,
        }  # fmt: skip
        worker.stdin.write(json.dumps(task) + "\n")
        return worker

    def _end(self) -> int | None:
        """Kill the process if there is one, and return what it ended with."""
        worker, self._worker = self._worker, None
        if worker is None:
            return None
        if worker.stdin is not None:
            try:
                worker.stdin.close()
            except BrokenPipeError:
                log.debug("the process of the chat template had ended")
        if worker.stdout is not None:
            worker.stdout.close()
        try:
            return worker.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            worker.kill()
            return worker.wait()

    def _reason(self, answer: Mapping[str, Any]) -> str:
        if answer.get("died") == -signal.SIGALRM:
            return f"the model's chat template takes more than {self._limit_s:g} s for these; send less, {_ELSEWHERE}"
        if "long" in answer:
            return f"the model's chat template makes more than {MAX_CHARACTERS} characters of these; send less"
        if "refused" in answer:  # in its own words, where they hold nothing of the messages
            words = answer["refused"]
            said = f": {words}" if words in self._source else ""
            return f"messages are refused by the model's chat template{said}; send others, {_ELSEWHERE}"
        what = answer.get("failed") or ("it is broken" if "broken" in answer else "its process ended")
        return f"messages are too much for the model's chat template ({what}); send others, {_ELSEWHERE}"


def disarm(content: str, special_names: tuple[str, ...], joint: str) -> str:
    """Put a joint into every special token's name in a message, and where what stands beside it could complete one.

    Args:
        content: of the message, without the joint.
        special_names: each longer than a character.
        joint: one character.

    Raises:
        InvalidRequestError: a special token's name is one character, so that it cannot be told from text.
    """
    names, beginnings, endings = _parts(special_names)
    if names is None:
        return content
    if any(len(name) == 1 and name in content for name in special_names):
        raise InvalidRequestError(
            "messages hold a character that this model takes for a special token; leave it out", param="messages"
        )
    content = names.sub(lambda match: match[0] + joint, content)
    inner = content.strip()  # templates may strip
    before = joint if inner.startswith(endings) else ""
    after = joint if inner.endswith(beginnings) else ""
    return content.replace(inner, f"{before}{inner}{after}", 1) if before or after else content


@lru_cache(maxsize=16)
def _parts(names: tuple[str, ...]) -> tuple[re.Pattern[str] | None, tuple[str, ...], tuple[str, ...]]:
    """Return what finds the first character of a name, and all proper beginnings and endings of names."""
    if not names:
        return None, (), ()
    first = "|".join(f"{re.escape(name[0])}(?={re.escape(name[1:])})" for name in names)
    beginnings = {name[:length] for name in names for length in range(1, len(name))}
    endings = {name[length:] for name in names for length in range(1, len(name))}
    return re.compile(first), tuple(beginnings), tuple(endings)


def _default(templates: Any) -> str | None:
    """Return the template of a configuration, which may name several."""
    if isinstance(templates, list):
        templates = {entry["name"]: entry["template"] for entry in templates}.get("default")
    return templates


def _name(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token)
