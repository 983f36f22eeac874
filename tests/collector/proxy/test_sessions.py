"""Calls that belong together are found to, and others are not, on the workloads that agents really make.

Each workload interleaves forty conversations. B-cubed precision and recall compare what was found with what is true.
"""

from __future__ import annotations

import copy
import json
import random
import stat
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from collector.otlp import decode_traces
from collector.proxy.capture import Policy
from collector.proxy.context import Context
from collector.proxy.exchange import Exchange, Outcome, read_exchange
from collector.proxy.pending import Pending
from collector.proxy.session_file import SessionFile
from collector.proxy.sessions import Resolver
from collector.proxy.spans import spans_of, unanswered
from collector.proxy.tape import Ending
from tests.collector.proxy.tapes import tape
from tests.provider import call, chat, message, response

EVERYTHING = Policy(True, True, True, True, b"salt")
PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}
LONG = "an answer of the kind that is long enough to be told from others by itself, number "


class Conversation:
    """One client's conversation: `ask` gives its next request, `hear` the answer to it."""

    def __init__(self, number: int, world: World, api: str, turns: int, first: str, **traits: Any) -> None:
        self.number = number
        self.world = world
        self.api = api
        self.turns = turns
        self.traits = traits
        self.turn = 0
        self.failures = 0
        self.history: list[dict[str, Any]] = [{"role": "user", "content": first}]
        self.last_response = ""

    def has(self, trait: str) -> bool:
        return bool(self.traits.get(trait))

    def ask(self) -> tuple[str, dict[str, Any], dict[str, str]]:
        sent = copy.deepcopy(self.history)
        if self.has("window") and len(sent) > 6:
            sent = sent[-5:]
        newest = sent[-1]
        if self.has("cache_control") and isinstance(newest["content"], str):
            newest["content"] = [
                {"type": "text", "text": newest["content"], "cache_control": {"type": "ephemeral"}}
            ]
        if self.has("reminder") and isinstance(newest["content"], str):
            reminder = f"<system-reminder>todo {self.world.word()}</system-reminder>"
            newest["content"] = [
                {"type": "text", "text": newest["content"]},
                {"type": "text", "text": reminder},
            ]
        system = "You are helpful."
        if self.has("clock"):
            system += f" It is {self.world.word()}."
        key = "k2" if self.has("rotating_key") and self.turn >= self.turns // 2 else "k1"
        headers = {"authorization": f"Bearer {key}"}
        if self.has("session_header"):
            headers["x-claude-code-session-id"] = f"session-{self.number}"
        if self.failures:
            headers["x-stainless-retry-count"] = str(self.failures)
        body: dict[str, Any] = {"model": "m"}
        if self.api == "chat":
            body["messages"] = [{"role": "system", "content": system}, *sent]
        elif self.api == "messages":
            body |= {"system": system, "messages": sent}
        else:
            body |= {"instructions": system, "input": sent[-1:]}
            if self.last_response:
                body["previous_response_id"] = self.last_response
        return PATHS[self.api], body, headers

    def hear(self) -> dict[str, Any]:
        self.turn += 1
        self.failures = 0
        identity = self.world.word()
        text = LONG + self.world.word() if not self.has("short") else "ok"
        with_tool = self.has("tools") and self.turn % 3 and self.turn < self.turns
        if self.api == "chat":
            calls = [call(f"call_{identity}", "f", "{}")] if with_tool else None
            document = chat({}, text, calls, identity)
            said = document["choices"][0]["message"]
            self.history.append(
                {"role": "assistant", **{k: said[k] for k in ("content", "tool_calls") if k in said}}
            )
            if with_tool:
                self.history.append(
                    {"role": "tool", "tool_call_id": f"call_{identity}", "content": self.world.word()}
                )
                return document
        elif self.api == "messages":
            content: list[dict[str, Any]] = [{"type": "text", "text": text}]
            if with_tool:
                content.append({"type": "tool_use", "id": f"toolu_{identity}", "name": "f", "input": {}})
            document = message({}, content, identity)
            self.history.append({"role": "assistant", "content": content})
            if with_tool:
                result = {
                    "type": "tool_result",
                    "tool_use_id": f"toolu_{identity}",
                    "content": self.world.word(),
                }
                self.history.append({"role": "user", "content": [result]})
                return document
        else:
            document = response({}, id_=identity)
            self.history.append({"role": "assistant", "content": text})
            self.last_response = identity
        following = "continue" if self.has("same_follow_ups") else self.world.word()
        self.history.append({"role": "user", "content": following})
        return document


class World:
    def __init__(self) -> None:
        self.random = random.Random(11)
        self.words = 0

    def word(self) -> str:
        self.words += 1
        return f"w{self.words}"


Make = Callable[[int, World], Conversation]

WORKLOADS: dict[str, tuple[Make, float]] = {
    "distinct first messages": (lambda i, w: Conversation(i, w, "chat", 6, f"q {i}"), 0),
    "shared first messages": (lambda i, w: Conversation(i, w, "chat", 6, f"q {i % 10}"), 0),
    "shared first messages and follow-ups": (
        lambda i, w: Conversation(i, w, "chat", 6, f"q {i % 10}", same_follow_ups=True),
        0,
    ),
    "tool loops that start alike": (lambda i, w: Conversation(i, w, "chat", 7, f"q {i % 10}", tools=True), 0),
    "cache control on the newest message": (
        lambda i, w: Conversation(i, w, "messages", 6, f"q {i}", cache_control=True),
        0,
    ),
    "cache control and tools": (
        lambda i, w: Conversation(i, w, "messages", 7, f"q {i}", cache_control=True, tools=True),
        0,
    ),
    "a reminder in the newest message": (
        lambda i, w: Conversation(i, w, "messages", 6, f"q {i}", reminder=True),
        0,
    ),
    "a clock in the system prompt": (lambda i, w: Conversation(i, w, "chat", 6, f"q {i}", clock=True), 0),
    "a sliding window": (lambda i, w: Conversation(i, w, "chat", 9, f"q {i}", window=True), 0),
    "keys that rotate": (lambda i, w: Conversation(i, w, "chat", 6, f"q {i}", rotating_key=True), 0),
    "previous_response_id": (lambda i, w: Conversation(i, w, "responses", 6, f"q {i}"), 0),
    "a session header": (lambda i, w: Conversation(i, w, "messages", 6, "same", session_header=True), 0),
    "failures and retries": (lambda i, w: Conversation(i, w, "chat", 6, f"q {i}"), 0.2),
    "one call each, alike": (lambda i, w: Conversation(i, w, "chat", 1, f"q {i % 5}"), 0),
}


def play(
    make: Make, failing: float, restarted: Callable[[Resolver | None], Resolver] | None = None
) -> list[tuple[int, str]]:
    """(true number, found session) of each call. `restarted`: gives a resolver for the one that ends, now and then."""
    world = World()
    resolver = restarted(None) if restarted else Resolver()
    live = [make(number, world) for number in range(40)]
    found = []
    calls = 0
    while live:
        conversation = world.random.choice(live)
        calls += 1
        path, body, headers = conversation.ask()
        more: dict[str, Any] = {
            "headers": headers,
            "span_id": f"{calls:016x}",
            "media_type": "application/json",
        }
        more["started_ns"] = 1_700_000_000_000_000_000 + calls * 1_000_000
        if world.random.random() < failing:
            conversation.failures += 1
            exchange = read_exchange(tape(path, body, [b"{}"], status=500, **more))
        else:
            exchange = read_exchange(tape(path, body, [json.dumps(conversation.hear()).encode()], **more))
        session = resolver.resolve(exchange).session
        found.append((conversation.number, session.id))
        if restarted:
            resolver.remember(session)
            resolver = restarted(resolver) if calls % 25 == 0 else resolver
        if conversation.turn >= conversation.turns:
            live.remove(conversation)
    return found


def b_cubed(labels: Sequence[tuple[int, str]]) -> tuple[float, float]:
    by_truth: dict[int, int] = defaultdict(int)
    by_found: dict[str, int] = defaultdict(int)
    both: dict[tuple[int, str], int] = defaultdict(int)
    for truth, found in labels:
        by_truth[truth] += 1
        by_found[found] += 1
        both[truth, found] += 1
    precision = sum(both[label] / by_found[label[1]] for label in labels) / len(labels)
    recall = sum(both[label] / by_truth[label[0]] for label in labels) / len(labels)
    return round(precision, 6), round(recall, 6)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_conversations_are_found_as_they_are(workload: str) -> None:
    assert b_cubed(play(*WORKLOADS[workload])) == (1.0, 1.0)


# --------------------------------------------------------------------------- the order of what tells

ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def exchange(
    body: Any = ASKED, number: int = 1, *, path: str = PATHS["chat"], answer: Any = None, **more: Any
) -> Exchange:
    said = chat({}, id_=f"id{number}") if answer is None else answer
    more = {"media_type": "application/json", "span_id": f"{number:016x}", **more}
    return read_exchange(tape(path, body, [json.dumps(said).encode()], **more))


def test_what_a_client_says_comes_before_what_is_found() -> None:
    resolver = Resolver()
    first = resolver.resolve(exchange())
    follow = {
        "model": "m",
        "messages": [*ASKED["messages"], chat({})["choices"][0]["message"], {"role": "user", "content": "x"}],
    }
    assert resolver.resolve(exchange(follow, 2)).method == "chain"
    named = resolver.resolve(exchange(follow, 3, context=Context(session="mine")))
    assert (named.method, named.confidence, named.session.id) == ("session", 1.0, "mine")
    traced = resolver.resolve(exchange(follow, 4, context=Context(trace_id="a" * 32)))
    assert (traced.method, traced.session.trace_id) == ("trace_id", "a" * 32)
    child = resolver.resolve(exchange(ASKED, 5, context=Context(parent_id=f"{1:016x}")))
    assert (child.method, child.session) == ("parent_id", first.session)


def test_a_traceparent_has_its_root_elsewhere() -> None:
    context = Context(trace_id="a" * 32, parent_id="b" * 16, from_traceparent=True)
    found = Resolver().resolve(exchange(context=context))
    assert (found.method, found.session.root_id) == ("traceparent", "")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"metadata": {"session_id": "s"}}, {}),
        ({"metadata": {"user_id": "user_1_account__session_11111111-2222-3333-4444-555555555555"}}, {}),
        (
            {
                "metadata": {
                    "user_id": '{"device_id":"d","session_id":"11111111-2222-3333-4444-555555555555"}'
                }
            },
            {},
        ),
        ({}, {"session_id": "s"}),
        ({}, {"x-opencode-session": "s"}),
        ({"prompt_cache_key": "s"}, {"user-agent": "codex_cli_rs/0.50"}),
    ],
)
def test_names_that_clients_give_their_sessions(body: dict[str, Any], headers: dict[str, str]) -> None:
    resolver = Resolver()
    path = PATHS["messages"]
    found = [
        resolver.resolve(
            exchange(
                {"messages": [{"role": "user", "content": str(n)}], **body}, n, path=path, headers=headers
            )
        )
        for n in (1, 2)
    ]
    assert found[0].session is found[1].session
    assert found[0].confidence == 0.99


def test_a_cache_key_says_nothing_of_other_clients() -> None:
    resolver = Resolver()
    bodies = [{"prompt_cache_key": "s", "input": str(number)} for number in (1, 2)]
    one, two = (resolver.resolve(exchange(body, n, path=PATHS["responses"])) for n, body in enumerate(bodies))
    assert one.session is not two.session


def test_projects_are_apart() -> None:
    resolver = Resolver()
    one, two = (
        resolver.resolve(exchange(ASKED, n, context=Context(project=project, session="same")))
        for n, project in enumerate(("a", "b"))
    )
    assert one.session.trace_id != two.session.trace_id


def test_a_first_call_that_failed_is_tried_again_in_its_session() -> None:
    resolver = Resolver()
    failed = exchange(ASKED, 1, status=500, answer={"error": {"type": "x", "message": "y"}})
    assert failed.outcome == Outcome.PROVIDER_ERROR
    first = resolver.resolve(failed)
    again = resolver.resolve(exchange(ASKED, 2))
    assert (again.method, again.session) == ("retry", first.session)
    assert resolver.resolve(exchange(ASKED, 3)).method == "new"


def test_the_same_answer_in_two_sessions_tells_nothing() -> None:
    resolver = Resolver()
    answer = chat({}, LONG + "same")
    for number in (1, 2):
        asked = {"messages": [{"role": "user", "content": f"q{number}"}]}
        resolver.resolve(exchange(asked, number, answer=answer))
    windowed = {"messages": [answer["choices"][0]["message"], {"role": "user", "content": "go on"}]}
    assert resolver.resolve(exchange(windowed, 3, answer=chat({}, "x"))).method == "new"


def test_an_answer_that_was_cut_off_is_no_mark() -> None:
    resolver = Resolver()
    cut = read_exchange(
        tape(PATHS["chat"], ASKED, [b"{"], media_type="application/json", ending=Ending.CLIENT)
    )
    resolver.resolve(cut)
    assert resolver.resolve(exchange(ASKED, 2)).method == "retry"


def test_sessions_are_forgotten_after_a_day() -> None:
    resolver = Resolver()
    day = 24 * 3600 * 1_000_000_000
    start = 1_700_000_000_000_000_000
    one = resolver.resolve(exchange(context=Context(session="s"), started_ns=start))
    two = resolver.resolve(exchange(context=Context(session="s"), started_ns=start + day + 1))
    assert one.session.trace_id == two.session.trace_id
    assert one.session.root_id != two.session.root_id


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.proxy.sessions.MAX_KEYS", 50)
    resolver = Resolver()
    for number in range(200):
        resolver.resolve(exchange({"messages": [{"role": "user", "content": str(number)}]}, number))
    assert len(resolver._known) == 50


# --------------------------------------------------------------------------- over a restart


def told(resolver: Resolver, one: Exchange) -> Any:
    found = resolver.resolve(one)
    spans_of(one, found, EVERYTHING, "1")
    resolver.remember(found.session)
    return found


@pytest.mark.parametrize("workload", [name for name in WORKLOADS if name != "one call each, alike"])
def test_conversations_are_found_as_they_are_over_restarts(workload: str, tmp_path: Path) -> None:
    def restarted(resolver: Resolver | None) -> Resolver:
        if resolver is not None:
            resolver.close()
        return Resolver(SessionFile(tmp_path / "sessions.jsonl"))

    assert b_cubed(play(*WORKLOADS[workload], restarted=restarted)) == (1.0, 1.0)


def test_a_tool_call_is_a_span_though_its_result_came_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "sessions.jsonl"
    before = Resolver(SessionFile(file))
    answer = chat({}, "Let me see.", [call("call_1", "get_weather", '{"city": "Lyon"}')])
    first = told(before, exchange(ASKED, 1, answer=answer))
    before.close()
    assert "Lyon" not in file.read_text()
    assert "hi" not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    after = Resolver(SessionFile(file))
    history = [*ASKED["messages"], answer["choices"][0]["message"]]
    result = {"role": "tool", "tool_call_id": "call_1", "content": "21"}
    later = 1_700_000_009_000_000_000
    again = exchange({"model": "m", "messages": [*history, result]}, 2, started_ns=later)
    second = after.resolve(again)
    assert (second.method, second.session.trace_id) == ("tool_call", first.session.trace_id)
    assert second.session.root_id != first.session.root_id
    spans = {span.name: span for span in decode_traces(spans_of(again, second, EVERYTHING, "1"))}
    tool = spans["execute_tool get_weather"]
    assert tool.parent_span_id == f"{1:016x}"
    assert tool.attributes["gen_ai.tool.call.arguments"] == '{"city": "Lyon"}'
    assert tool.start_ns < tool.end_ns == later
    after.remember(second.session)
    after.close()
    third = Resolver(SessionFile(file))
    assert third.restored[0].open_calls == {}
    assert "call_1" in third.restored[0].seen_results


def test_a_line_that_a_crash_tore_costs_itself_only(tmp_path: Path) -> None:
    file = tmp_path / "sessions.jsonl"
    before = Resolver(SessionFile(file))
    first = told(before, exchange(context=Context(session="mine")))
    before.flush()
    whole = file.read_bytes()
    file.write_bytes(b'{"id": 3}\n[]\n' + whole + whole[: len(whole) // 3])
    after = Resolver(SessionFile(file))
    found = told(after, exchange(ASKED, 2, context=Context(session="mine")))
    assert found.session.trace_id == first.session.trace_id
    after.close()
    assert Resolver(SessionFile(file)).restored[0].id == "mine"


def test_the_files_stay_within_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collector.proxy.session_file.MAX_BYTES", 4000)
    file = tmp_path / "sessions.jsonl"
    resolver = Resolver(SessionFile(file))
    for number in range(60):
        told(resolver, exchange({"messages": [{"role": "user", "content": str(number)}]}, number))
        resolver.flush()
    assert sum(one.stat().st_size for one in tmp_path.iterdir()) < 12_000
    assert sorted(one.name for one in tmp_path.iterdir()) == ["sessions.jsonl", "sessions.jsonl.1"]
    assert Resolver(SessionFile(file)).restored[-1].trace_id


def test_sessions_that_can_not_be_written_are_in_memory(tmp_path: Path) -> None:
    (tmp_path / "sessions.jsonl").mkdir()
    resolver = Resolver(SessionFile(tmp_path / "sessions.jsonl"))
    first = told(resolver, exchange(context=Context(session="mine")))
    resolver.flush()
    assert told(resolver, exchange(ASKED, 2, context=Context(session="mine"))).session is first.session


# --------------------------------------------------------------------------- a run for each of a user's messages


@pytest.mark.parametrize("trait", ["", "reminder", "cache_control", "clock", "same_follow_ups"])
@pytest.mark.parametrize("is_restarted", [False, True], ids=["", "restarted"])
def test_each_message_of_a_user_is_a_run_of_its_session(
    trait: str, is_restarted: bool, tmp_path: Path
) -> None:
    world = World()
    api = "messages" if trait in ("reminder", "cache_control") else "chat"
    conversation = Conversation(1, world, api, 9, "q", tools=True, **{trait: True} if trait else {})
    file = tmp_path / "sessions.jsonl"
    resolver = Resolver(SessionFile(file), by_turn=True)
    found: list[tuple[int, str]] = []
    sessions = set()
    turn = 0
    for number in range(9):
        path, body, headers = conversation.ask()
        turn += "tool" not in json.dumps(body["messages"][-1])
        one = exchange(body, number, path=path, answer=conversation.hear(), headers=headers)
        resolved = told(resolver, one)
        found.append((turn, resolved.session.trace_id))
        sessions.add(resolved.session.id)
        if is_restarted:
            resolver.close()
            resolver = Resolver(SessionFile(file), by_turn=True)
    assert len(sessions) == 1
    assert turn > 2
    assert b_cubed(found) == (1.0, 1.0)


def test_a_message_that_says_the_same_again_is_another_run() -> None:
    resolver = Resolver(by_turn=True)
    messages = [*ASKED["messages"]]
    traces = []
    for number in range(3):
        answer = chat({}, f"answer {number}")
        traces.append(
            told(resolver, exchange({"messages": messages}, number, answer=answer)).session.trace_id
        )
        messages = [*messages, answer["choices"][0]["message"], *ASKED["messages"]]
    assert len(set(traces)) == 3


def test_a_response_that_goes_on_from_a_tool_is_in_the_run_that_called_it() -> None:
    resolver = Resolver(by_turn=True)
    path = PATHS["responses"]
    called = {
        "type": "function_call",
        "call_id": "call_1",
        "name": "f",
        "arguments": "{}",
        "id": "fc",
        "status": "completed",
    }
    first = told(
        resolver, exchange({"input": "hi"}, 1, path=path, answer=response({}, id_="r1", output=[called]))
    )
    output = {"type": "function_call_output", "call_id": "call_1", "output": "21"}
    asked = {"input": [output], "previous_response_id": "r1"}
    second = told(resolver, exchange(asked, 2, path=path, answer=response({}, id_="r2")))
    third = told(
        resolver,
        exchange(
            {"input": "more", "previous_response_id": "r2"}, 3, path=path, answer=response({}, id_="r3")
        ),
    )
    assert second.session is first.session
    assert third.session is not first.session
    assert third.session.id == first.session.id


def test_what_is_placed_by_its_sender_is_not_split() -> None:
    resolver = Resolver(by_turn=True)
    context = Context(trace_id="a" * 32)
    for number in (1, 2):
        asked = {"messages": [{"role": "user", "content": str(number)}]}
        assert told(resolver, exchange(asked, number, context=context)).session.trace_id == "a" * 32


# --------------------------------------------------------------------------- calls that nobody answers


def test_a_tool_call_without_a_result_is_told_once_and_still_becomes_a_span() -> None:
    resolver, pending = Resolver(), Pending(ttl_ns=1_000)
    answer = chat({}, "", [call("call_1", "get_weather", "{}"), call("call_2", "get_time", "{}")])
    asking = exchange(ASKED, 1, answer=answer)
    found = resolver.resolve(asking)
    spans_of(asking, found, EVERYTHING, "1")
    made = resolver.remember(found.session)
    pending.note(found.session, made)
    at = made[0][1].at_ns
    assert list(pending.overdue(at + 999)) == []
    result = {"role": "tool", "tool_call_id": "call_2", "content": "12:00"}
    history = [*ASKED["messages"], answer["choices"][0]["message"]]
    going_on = exchange({"messages": [*history, result]}, 2, answer=chat({}, id_="id2"))
    again = resolver.resolve(going_on)
    spans_of(going_on, again, EVERYTHING, "1")

    (overdue,) = pending.overdue(at + 1_000)
    assert (overdue[0], overdue[1].call.name) == (found.session, "get_weather")
    (root,) = decode_traces(unanswered(*overdue, at + 1_000, "1") or b"")
    assert (root.span_id, root.name) == (found.session.root_id, "session")
    assert "gen_ai.output.messages" in root.attributes
    (event,) = root.events
    assert event.name == "eddyline.tool_call_unanswered"
    assert event.attributes["gen_ai.tool.call.id"] == "call_1"
    assert list(pending.overdue(at + 10**12)) == []

    late = {"role": "tool", "tool_call_id": "call_1", "content": "21"}
    last = exchange({"messages": [*history, result, late]}, 3, answer=chat({}, id_="id3"))
    spans = list(decode_traces(spans_of(last, resolver.resolve(last), EVERYTHING, "1")))
    assert "execute_tool get_weather" in [span.name for span in spans]
    assert [event.name for event in spans[0].events] == ["eddyline.tool_call_unanswered"]
