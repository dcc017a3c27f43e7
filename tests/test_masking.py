"""What a Masker takes out of text and out of events: every form a secret comes in, and nothing else."""

import base64
import json
import re
import shlex
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from stagerun import events
from stagerun.authoring.log_lines import LogLines
from stagerun.states import RunState, StageState
from stagerun.text import json_text
from stagerun.text.masking import MASK, SHORTEST, Masker, _InUrl
from tests.forms import core, forms, found, shards


Quote = Callable[[object], str]

SECRET = 'p~>?ss/w+rd "é\\ 7%'
PEM = "-----BEGIN KEY-----\nMIIEow/IBAAKC+AQEA\n  xyz3Tz0= \n-----END KEY-----\n"


def knowing(*secrets: str) -> Masker:
    masker = Masker()
    masker.learn(secrets)
    return masker


# --- what is looked for


def test_nothing_is_masked_before_a_secret_is_known() -> None:
    masker = Masker()
    event = events.Log("hush-hush")

    assert (masker.mask("hush-hush"), masker.holds("hush-hush"), masker.values, masker.complete("hush-hush")) == (
        "hush-hush",
        False,
        [],
        9,
    )
    assert masker.event(event) is event


def test_a_secret_is_masked_wherever_and_however_often_it_stands() -> None:
    masker = knowing("hush-hush")

    assert {
        text: masker.mask(text) for text in ("hush-hush", "ahush-hushb", "hush-hush hush-hushhush-hush", "hush")
    } == {
        "hush-hush": "***",
        "ahush-hushb": "a***b",
        "hush-hush hush-hushhush-hush": "*** ******",
        "hush": "hush",
    }


def test_secrets_are_kept_in_the_order_they_were_learned_each_once_without_the_short_ones() -> None:
    masker = knowing("second-b", "abc", "first-a", "", "second-b")
    masker.learn(["first-a", "third-c"])

    assert masker.values == ["second-b", "first-a", "third-c"]
    assert masker.mask("first-a second-b third-c abc") == "*** *** *** abc"


@pytest.mark.parametrize("secret", ["", "a", "ab", "abc", "éé", "a\nb"])
def test_a_secret_shorter_than_the_shortest_is_not_looked_for(secret: str) -> None:
    masker = knowing(secret)
    text = f"{secret} {base64.b64encode(secret.encode()).decode()} {quote(secret)} abcabc"

    assert (SHORTEST, masker.values, masker.mask(text), masker.holds(text)) == (4, [], text, False)


@pytest.mark.parametrize("secret", ["abcd", "éé12", "    ", "\x00\x01\x02\x03", "🔑🔑🔑🔑"])
def test_a_secret_of_the_shortest_length_is_looked_for(secret: str) -> None:
    assert knowing(secret).mask(f"<{secret}>") == "<***>"


def test_a_letter_in_another_case_or_a_part_of_a_secret_is_no_secret() -> None:
    text = "HUSH-HUSH hush-hus ush-hush hush hush hush- hush"

    assert knowing("hush-hush").mask(text) == text


# --- its forms


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        repr(SECRET)[1:-1],
        repr(SECRET.encode())[2:-1],
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        shlex.quote(SECRET)[1:-1],
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
    ],
)
def test_a_secret_is_found_in_each_form_that_programs_give_it(form: str) -> None:
    assert knowing(SECRET).mask(f"before {form} after") == "before *** after"


def test_a_secret_is_found_in_base64_of_something_longer_at_every_offset() -> None:
    masker = knowing("hunter2-token")
    longer = ("user:hunter2-token", "me:hunter2-token!", "a:hunter2-token?q", "hunter2-token", "12345hunter2-token")

    assert {text: masker.mask(base64.b64encode(text.encode()).decode()) for text in longer} == {
        "user:hunter2-token": "dXNlcjp***",
        "me:hunter2-token!": "bWU6***iE=",
        "a:hunter2-token?q": "YTp***P3E=",
        "hunter2-token": "***",
        "12345hunter2-token": "MTIzNDV***",
    }


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("after", ["", "x", "xy", "xyz"])
@pytest.mark.parametrize("before", ["", "u", "us", "use", "user:"])
def test_both_alphabets_of_base64_are_read_whatever_stands_before_and_after(
    before: str, after: str, encode: Any
) -> None:
    secret = "~~~???>>>\xff\xfe"
    text = encode(f"{before}{secret}{after}".encode()).decode()
    masked = knowing(secret).mask(f"Basic {text}")

    assert masked.startswith("Basic ")
    assert masked.count(MASK) == 1
    assert found(secret, masked) == []


def test_a_url_with_a_secret_in_it_is_masked_in_every_part() -> None:
    masker = knowing("p@ss/w?rd & more")

    assert masker.mask(
        "https://me:p%40ss%2Fw%3Frd%20%26%20more@host/p%40ss/w%3Frd%20%26%20more?q=p%40ss%2Fw%3Frd+%26+more"
    ) == ("https://me:***@host/***?q=***")


def test_a_secret_of_several_lines_is_found_whole_and_line_by_line() -> None:
    masker = knowing(PEM)

    assert {text: masker.mask(text) for text in (PEM, *PEM.splitlines(), f"<{PEM.strip()}>")} == {
        PEM: "***",
        "-----BEGIN KEY-----": "***",
        "MIIEow/IBAAKC+AQEA": "***",
        "  xyz3Tz0= ": "  *** ",
        "-----END KEY-----": "***",
        f"<{PEM.strip()}>": "<***\n***\n  *** \n***>",
    }


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x0b", "\x85", "\u2028"], ids=repr)
def test_a_line_of_a_secret_is_found_whatever_ends_it(end: str) -> None:
    masker = knowing(f"first line{end}  second line")

    assert masker.mask("first line, second line") == "***, ***"


@pytest.mark.parametrize("line", ["-----BEGIN KEY-----", "MIIEow/IBAAKC+AQEA"])
def test_a_line_of_a_secret_is_found_in_every_form(line: str) -> None:
    masker = knowing(PEM)
    told = [quote(line, safe=""), base64.b64encode(f"user:{line}".encode()).decode(), json.dumps({"line": line})]

    assert [found(line, masker.mask(text)) for text in told] == [[], [], []]


def test_a_secret_of_several_lines_in_one_json_text_is_masked_as_one() -> None:
    assert knowing(PEM).mask(json.dumps({"key": PEM})) == '{"key": "***"}'
    assert knowing(PEM).mask(repr(PEM)) == "'***'"


def test_lines_that_are_too_short_are_found_with_the_lines_around_them() -> None:
    masker = knowing("one line\nab\nanother line")

    assert masker.mask("one line\nab\nanother line / ab / one line") == "*** / ab / ***"


def test_white_space_around_a_secret_is_not_needed_to_find_it() -> None:
    masker = knowing("  hush-hush \n")

    assert (masker.mask("<hush-hush>"), masker.mask("<  hush-hush \n>")) == ("<***>", "<***>")


def test_a_secret_that_is_not_utf_8_is_found_as_the_system_gave_it_and_as_bytes() -> None:
    secret = b"caf\xe9-token".decode("utf-8", "surrogateescape")
    masker = knowing(secret)
    told = (secret, json_text.encodable(secret), repr(b"caf\xe9-token"), base64.b64encode(b"me:caf\xe9-token").decode())

    assert [masker.mask(text) for text in told] == ["***", "***", "b'***'", "bWU6***"]
    assert masker.holds([secret])


@pytest.mark.parametrize("secret", ["hush-hush", "ÄÖÜß", "🔑🔑🔑🔑", "p w/d"])
def test_of_a_text_that_goes_on_so_much_is_held_back_as_may_be_the_beginning_of_a_secret(secret: str) -> None:
    masker = knowing(secret)

    for form in forms(secret):
        for length in range(1, len(form)):
            text = "y" * 1000 + form[:length]
            assert masker.complete(text) <= 1000


# --- several secrets


def test_where_secrets_overlap_or_touch_all_go() -> None:
    masker = knowing("abcdef", "defghi", "12345")

    assert {text: masker.mask(text) for text in ("abcdefghi", "abcdef12345", "xabcdefghix", "abcdefabcdefghi")} == {
        "abcdefghi": "***",
        "abcdef12345": "******",
        "xabcdefghix": "x***x",
        "abcdefabcdefghi": "******",
    }


def test_a_secret_that_overlaps_itself_goes_as_a_whole() -> None:
    assert knowing("abab").mask("xabababx") == "x***x"


def test_a_secret_inside_another_does_not_save_the_rest_of_it() -> None:
    for secrets in (("pass", "my-pass-phrase"), ("my-pass-phrase", "pass")):
        masker = knowing(*secrets)

        assert masker.mask("my-pass-phrase pass my-pass password") == "*** *** my-*** ***word"


def test_a_secret_learned_later_is_found_beside_the_earlier_ones() -> None:
    masker = knowing("first-one")
    before = masker.mask("first-one second-one")
    masker.learn(["second-one"])

    assert (before, masker.mask("first-one second-one")) == ("*** second-one", "*** ***")


# --- for any secret and any text

_SECRETS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="*"), min_size=4, max_size=40)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(_SECRETS, _TEXTS, _TEXTS)
def test_no_form_of_a_secret_stays_whatever_stands_around_it(secret: str, before: str, after: str) -> None:
    masker = knowing(secret)

    for form in found(secret, "\n".join(_every_form(secret))):
        masked = masker.mask(f"{before}{form}{after}")
        assert found(secret, masked) == []
        assert masker.mask(masked) == masked


@given(_SECRETS, st.binary(max_size=5), st.binary(max_size=5), st.booleans())
def test_no_secret_stays_in_base64_of_something_longer(secret: str, before: bytes, after: bytes, urlsafe: bool) -> None:
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    told = knowing(secret).mask(encode(before + secret.encode() + after).decode())

    assert core(secret, len(before) % 3, urlsafe=urlsafe) not in told


@given(_SECRETS, _TEXTS, _TEXTS)
def test_no_secret_stays_in_a_longer_text_that_json_or_a_url_quotes(secret: str, before: str, after: str) -> None:
    masker = knowing(secret)
    text = f"{before}{secret}{after}"
    quoted = (
        json.dumps(text),
        json.dumps(text, ensure_ascii=False),
        quote(text),
        quote(text, safe=""),
        quote_plus(text),
    )

    assert [found(secret, masker.mask(each)) for each in quoted] == [[]] * 5


@given(_SECRETS, _TEXTS, st.data())
def test_text_without_any_form_of_the_secret_comes_back_unchanged(secret: str, text: str, data: st.DataObject) -> None:
    text += data.draw(st.text(st.sampled_from(secret), max_size=30))
    assume(found(secret, text) == [])

    assert knowing(secret).mask(text) == text


@given(st.lists(_SECRETS, min_size=2, max_size=4), st.lists(st.integers(0, 3), max_size=6), _TEXTS)
def test_of_several_secrets_none_stays(secrets: list[str], places: list[int], between: str) -> None:
    masked = knowing(*secrets).mask(between.join(secrets[place % len(secrets)] for place in places))

    assert [secret for secret in secrets if secret in masked] == []


@st.composite
def _in_url(draw: st.DrawFn, secret: str) -> str:
    """Return `secret` with some of its characters written as in a URL."""
    safe = draw(st.sampled_from(["", " "]))
    return "".join(draw(st.sampled_from([each, quote_plus(each), quote(each, safe)])) for each in secret)


@given(st.lists(_SECRETS | st.text(st.sampled_from("ab "), min_size=4), min_size=1, max_size=3), st.data())
def test_the_quick_look_sees_a_secret_exactly_where_the_search_for_every_form_does(
    secrets: list[str], data: st.DataObject
) -> None:
    masker = knowing(*secrets)
    secret = data.draw(st.sampled_from(secrets))
    pieces = _TEXTS | _in_url(secret) | st.sampled_from(_every_form(secret))
    text = "".join(data.draw(st.lists(pieces, max_size=4)))

    assert masker._is_in(text) == bool(list(masker._places(text)))
    assert masker.mask(text) == _masked_plainly(masker, text)


@given(_SECRETS)
def test_each_form_of_a_secret_is_seen_by_the_quick_look(secret: str) -> None:
    masker = knowing(secret)

    assert [form for form in masker._forms if not masker._is_in(f"<{form}>")] == []


@settings(max_examples=20)
@given(st.lists(_SECRETS, min_size=1, max_size=3), st.data())
def test_among_very_many_secrets_one_is_seen_as_it_is_alone(secrets: list[str], data: st.DataObject) -> None:
    others = [f"{number:08}-nobody-writes-this" for number in range(200)]
    form = data.draw(st.sampled_from(_every_form(data.draw(st.sampled_from(secrets)))))
    text = data.draw(_TEXTS) + form + data.draw(_TEXTS)

    assert knowing(*others, *secrets).mask(text) == knowing(*secrets).mask(text)


@given(_SECRETS, st.data())
def test_a_secret_in_a_url_is_found_exactly_where_a_pattern_of_all_ways_to_write_it_finds_it(
    secret: str, data: st.DataObject
) -> None:
    pieces = _TEXTS | _in_url(secret) | st.sampled_from(["%", "%4", "%25", "+", secret[:2], secret[-2:]])
    text = "".join(data.draw(st.lists(pieces, max_size=5)))
    pattern = "".join(
        "(?:" + "".join(f"%(?i:{byte:02x})" for byte in each.encode()) + f"|{re.escape(each)}{'|[+]' * (each == ' ')})"
        for each in secret
    )
    form = _InUrl(secret)

    found = sorted(set(form.places(text)))
    assert found == [match.span(1) for match in re.finditer(f"(?=({pattern}))", text)]
    written = [text[start:stop] for start, stop in found if text[start:stop] != secret]
    assert [each for each in written if knowing(secret).mask(each) != MASK] == []


def _masked_plainly(masker: Masker, text: str) -> str:
    """Mask by the search for every form alone."""
    while places := list(masker._places(text)):
        for start, stop in reversed(places):
            text = text[:start] + MASK + text[stop:]
    return text


def _every_form(secret: str) -> list[str]:
    data = secret.encode()
    return [
        secret,
        repr(secret),
        repr(data),
        json.dumps(secret),
        json.dumps(secret, ensure_ascii=False),
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        *(
            encode(bytes(n) + data).decode()
            for n in range(3)
            for encode in (base64.b64encode, base64.urlsafe_b64encode)
        ),
    ]


@pytest.mark.parametrize(
    ("secret", "text"),
    [("*abc", "*abcabc"), ("abc*", "abcabc*"), ("a***", "aa***"), ("****", "*abcd****"), ("a***b", "aa***bb")],
)
def test_a_secret_with_asterisks_does_not_come_back_as_the_mask_of_itself(secret: str, text: str) -> None:
    masker = knowing(secret, "abcd")
    masked = masker.mask(text)

    assert (secret in masked, masker.mask(masked)) == (False, masked)


@pytest.mark.parametrize(
    "quoted",
    [
        repr('he said "it\'s-a-secret"'),
        repr(b'he said "it\'s-a-secret"'),
        repr({"command": 'curl -u "it\'s-a-secret"'}),
    ],
)
def test_a_secret_with_an_apostrophe_is_found_in_a_longer_text_that_python_quotes(quoted: str) -> None:
    assert "secret" not in knowing("it's-a-secret").mask(quoted)


@pytest.mark.parametrize("quoted", [shlex.quote("it's 'so' secret"), r"'it'\''s '\''so'\'' secret'"])
def test_a_secret_with_apostrophes_is_found_as_shells_quote_it(quoted: str) -> None:
    assert knowing("it's 'so' secret").mask(f"$ curl -u {quoted} -v") == "$ curl -u '***' -v"


@pytest.mark.parametrize("inner", [json.dumps, repr, shlex.quote])
@pytest.mark.parametrize("outer", [json.dumps, repr])
def test_a_secret_that_is_quoted_twice_is_found(outer: Quote, inner: Quote) -> None:
    for secret in (SECRET, 'it\'s a "secret" for you'):
        token = secret if inner is shlex.quote else {"token": secret}
        assert shards(secret, knowing(secret).mask(outer([inner(token)]))) == []


@pytest.mark.parametrize("quoted", ["p%40ss%2fw!rd", "p%40ss%2Fw!rd", "p%40ss/w!rd", "p@ss%2Fw!rd", "%70%40ss/w%21rd"])
def test_a_secret_is_found_in_a_url_whichever_characters_were_escaped(quoted: str) -> None:
    assert knowing("p@ss/w!rd").mask(f"https://me:{quoted}@host/") == "https://me:***@host/"


# --- values that are stored


def test_a_value_holds_a_secret_in_a_text_a_key_a_number_or_deep_inside() -> None:
    masker = knowing(SECRET, "48151623")
    holding: list[Any] = [
        SECRET,
        f"user:{SECRET}",
        {"a": [{"b": [SECRET]}]},
        {SECRET: 1},
        [base64.b64encode(f"me:{SECRET}".encode()).decode()],
        quote(SECRET),
        48151623,
        {"pin": [48151623]},
    ]
    free: list[Any] = [None, True, 1, 4815.1623, "", [], {}, "p~>?ss", {"a": ["b", "4815", "1623"]}]

    assert ([masker.holds(value) for value in holding], [masker.holds(value) for value in free]) == (
        [True] * len(holding),
        [False] * len(free),
    )


@pytest.mark.parametrize("text", [json.dumps({"token": 'pa"ss\\word'}), repr('pa"ss\\word')])
def test_a_value_holds_a_secret_that_is_quoted_inside_a_text(text: str) -> None:
    assert knowing('pa"ss\\word').mask(text) != text
    assert knowing('pa"ss\\word').holds({"config": text})


@pytest.mark.parametrize(
    ("secret", "value"), [("0000", "\0"), ('b":"c', {"ab": "cd"}), ("true", [True]), ("null", None)]
)
def test_a_value_holds_no_secret_that_only_its_json_spells(secret: str, value: object) -> None:
    assert not knowing(secret).holds(value)


# --- events

_PLAN = events.RunCreated(
    target="hush-hush:Import",
    recipe="hush-hush",
    operation="Import",
    source="/hush-hush.py",
    source_hash="00",
    params={"label": "is hush-hush", "names": ["hush-hush", "b"], "hush-hush": {"deep": ["hush-hush", 1, None, True]}},
    stages=("hush-hush",),
    owner="hush-hush",
    host="hush-hush",
    expected={"hush-hush": 1.0},
    done_before=("hush-hush",),
    inherited={"hush-hush": (1, 2)},
)
_FAILURE = events.Failure(
    type="ValueError",
    message="is hush-hush",
    stage="is hush-hush",
    traceback="Traceback:\n  hush-hush\nValueError: hush-hush",
    file="/recipe.py",
    line=3,
)
_ENDING = events.RunFinished(state=RunState.FAILED, seconds=1.0, exit_code=1, error=_FAILURE)
_MOVED = events.ProgressMoved(done=1, total=2, label="hush-hush a", unit="hush-hush b")
_RESULT = {"a": "hush-hush", "hush-hush": {"b": ["x hush-hush", 1.5, None, {"c hush-hush": "d"}]}}

MASKED: list[tuple[events.Event, events.Event]] = [
    (
        _PLAN,
        replace(
            _PLAN,
            params=dict.fromkeys(_PLAN.params, "***"),
            owner="***",
        ),
    ),
    (events.RunStarted(), events.RunStarted()),
    (events.LineRedrawn("\thush-hush 10%", "hush-hush"), events.LineRedrawn("\t*** 10%", "***")),
    (events.StageEntered(stage="hush-hush", index=0), events.StageEntered(stage="hush-hush", index=0)),
    (events.StageEntered(stage="a hush-hush", index=None), events.StageEntered(stage="a hush-hush", index=None)),
    (
        events.StageLeft(stage="hush-hush", index=0, state=StageState.DONE, seconds=1.0),
        events.StageLeft(stage="hush-hush", index=0, state=StageState.DONE, seconds=1.0),
    ),
    (
        events.StageLeft(stage="a hush-hush", index=None, state=StageState.DONE, seconds=1.0),
        events.StageLeft(stage="a hush-hush", index=None, state=StageState.DONE, seconds=1.0),
    ),
    (
        events.StageTakenOver(stage="hush-hush", index=0, run=1),
        events.StageTakenOver(stage="hush-hush", index=0, run=1),
    ),
    (
        events.ResultSet(result=_RESULT),
        events.ResultSet(result={"a": "***", "***": {"b": ["x ***", 1.5, None, {"c ***": "d"}]}}),
    ),
    (
        events.CheckpointStored(key="hush-hush", stage="hush-hush", value=1),
        events.CheckpointStored(key="hush-hush", stage="hush-hush", value=1),
    ),
    (
        events.PositionReached(key="hush-hush", stage="hush-hush", position=1),
        events.PositionReached(key="hush-hush", stage="hush-hush", position=1),
    ),
    (
        events.ResultsStored(key="hush-hush", part=0, total=1, items=(0,), marks=(1,), values=(1,), inside="hush-hush"),
        events.ResultsStored(key="hush-hush", part=0, total=1, items=(0,), marks=(1,), values=(1,), inside="hush-hush"),
    ),
    (
        _ENDING,
        replace(
            _ENDING,
            error=replace(
                _FAILURE,
                message="is ***",
                traceback="Traceback:\n  ***\nValueError: ***",
            ),
        ),
    ),
    (replace(_ENDING, error=None), replace(_ENDING, error=None)),
    (
        replace(_ENDING, error=events.Failure(type="", message="hush-hush")),
        replace(_ENDING, error=events.Failure(type="", message="***")),
    ),
    (events.Log("is hush-hush", "info", "stdout"), events.Log("is ***", "info", "stdout")),
    (events.StatusChanged("is hush-hush", "error"), events.StatusChanged("is ***", "error")),
    (_MOVED, replace(_MOVED, label="*** a", unit="*** b")),
    (replace(_MOVED, label=None), replace(_MOVED, label=None, unit="*** b")),
]


@pytest.mark.parametrize(("event", "masked"), MASKED, ids=lambda event: event.kind)
def test_the_texts_of_an_event_are_masked_and_the_names_it_is_found_by_stay(
    event: events.Event, masked: events.Event
) -> None:
    masker = knowing("hush-hush")

    assert masker.event(event) == masked
    assert masker.event(masked) == masked


def test_every_kind_of_event_is_looked_at_here() -> None:
    assert {event.kind for event, _ in MASKED} == set(events.EVENTS)


def test_an_event_without_the_secret_stays_as_it_is() -> None:
    masker = knowing("another-secret")

    assert [masker.event(event) for event, _ in MASKED] == [event for event, _ in MASKED]


@pytest.mark.parametrize(
    "event",
    [
        events.Log("fine", "info", "client.hush-hush"),
        replace(_ENDING, error=events.Failure(type="Ehush-hush", message="", file="/recipe.py")),
        replace(_ENDING, error=events.Failure(type="E", message="", file="/tmp/hush-hush.py")),
    ],
    ids=["logger", "class", "file"],
)
def test_a_name_that_a_recipe_makes_up_while_it_runs_is_masked(event: events.Event) -> None:
    assert "hush-hush" not in json_text.dumps(msgspec.to_builtins(knowing("hush-hush").event(event)))


@pytest.mark.parametrize(
    "event",
    [events.ResultSet(result={"pin": [48151623]}), replace(_PLAN, params={"pin": 48151623})],
    ids=lambda event: event.kind,
)
def test_a_secret_of_digits_is_masked_where_it_is_a_number(event: events.Event) -> None:
    assert "48151623" not in json_text.dumps(msgspec.to_builtins(knowing("48151623").event(event)))


def test_a_secret_of_short_lines_is_found_before_its_line_ends_are_taken_off() -> None:
    masker, told = Masker(), list[events.Event]()
    masker.learn(["ab\r\ncd\r\nef"])
    lines = LogLines(lambda event: told.append(masker.event(event)), masker)

    lines.write("the key is ab\r\ncd\r\nef.\n")

    assert told == [events.Log("the key is ***.")]
