"""Rendering: parts of a message, answer spans, and templates that cannot be used."""

from __future__ import annotations

import pytest

from adaptinf.data.chat import Chat, RenderError, Span
from adaptinf.data.sample import Turn
from adaptinf.errors import UserError
from tests.families.processors import CHAT_TEMPLATE, tiny_llava

# As in llava-hf/llava-1.5: images first, a blank after each text, nothing that ends an answer.
LLAVA_HF = (
    "{% for m in messages %}{{ m['role'].upper() + ': ' }}"
    "{% for c in m['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}"
    "{% endfor %}"
    "{% for c in m['content'] | selectattr('type', 'equalto', 'text') %}{{ c['text'] + ' ' }}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


IMAGE = {"type": "image"}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hello", [part("hello")]),
        ("<image>\nWhat?", [IMAGE, part("What?")]),
        ("What?\n<image>", [part("What?"), IMAGE]),
        ("<image><image>What differs?", [IMAGE, IMAGE, part("What differs?")]),
        ("A: <image> B: <image>", [part("A: "), IMAGE, part(" B: "), IMAGE]),
        ("one\n\n<image>\n\ntwo", [part("one\n"), IMAGE, part("\ntwo")]),
        ("<image>", [IMAGE]),
        ("", [part("")]),
    ],
)
def test_marks_become_parts_in_reading_order(llava_processor, text, parts):
    assert Chat(llava_processor).messages([Turn("user", text)]) == [
        {"role": "user", "content": parts}
    ]


def test_spans_cover_each_answer_and_its_end_token(llava_processor):
    turns = [Turn("user", "a"), Turn("assistant", "bc"), Turn("user", "d"), Turn("assistant", "e")]
    rendered = Chat(llava_processor).rendered(turns)
    assert rendered.text == "USER: a\nASSISTANT: bc</s>\nUSER: d\nASSISTANT: e</s>\n"
    assert rendered.answers == (Span(18, 25), Span(44, 50))
    assert rendered.text[18:25] == " bc</s>"
    assert rendered.text[44:50] == " e</s>"


def test_prompt_is_what_stands_before_the_answer(llava_processor):
    chat = Chat(llava_processor)
    turns = [Turn("user", "<image>\na"), Turn("assistant", "b")]
    rendered = chat.rendered(turns)
    assert chat.prompt(turns[:1]) == "USER: <image>\na\nASSISTANT:"
    assert rendered.text[: rendered.answers[0].start] == chat.prompt(turns[:1])


def test_answers_without_an_end_are_closed():
    turns = [Turn("user", "<image>\nq"), Turn("assistant", "a")]
    rendered = Chat(tiny_llava(LLAVA_HF)).rendered(turns)
    assert rendered.text == "USER: <image>\nq ASSISTANT: a</s> "
    assert rendered.text[rendered.answers[0].start : rendered.answers[0].stop] == " a</s>"


def test_template_that_rewrites_earlier_turns_is_refused():
    counting = "{{ messages | length }}{% for m in messages %}{{ m['content'][0]['text'] }}</s>"
    with pytest.raises(UserError, match="rewrites earlier turns"):
        Chat(tiny_llava(counting + "{% endfor %}"))


def test_template_that_refuses_is_a_user_error():
    with pytest.raises(UserError, match="no chat template that can be used"):
        Chat(tiny_llava("{{ raise_exception('system message first') }}"))


def conversation(*texts: str) -> list[Turn]:
    roles = ("user", "assistant")
    return [Turn(roles[i % 2], text) for i, text in enumerate(texts)]


ROWS = [
    conversation("<image>\na", "b"),
    conversation("a", "b ", "<image>c<image>", " d"),
    conversation("  a  ", "b"),
    conversation("marker0end", "marker1end"),
    conversation("a", "", "b", "c"),
    conversation("a", "<image>", "b", "c"),
]


TRIMMING = (
    "{% for m in messages %}{{ m['role'] }} {% for c in m['content'] %}"
    "{{ '<image>' if c['type'] == 'image' else c['text'] | trim }}{% endfor %}</s>"
    "{% endfor %}{% if add_generation_prompt %}assistant {% endif %}"
)


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, LLAVA_HF, TRIMMING])
def test_frames_change_nothing(template):
    """With frames known, unknown, or of no use: the places are those of all beginnings."""
    chat = Chat(tiny_llava(template))
    for _ in range(2):
        for turns, text in zip(ROWS, chat.texts(ROWS), strict=True):
            expected = chat._rendered_by_beginnings(chat.messages(turns))
            assert chat.rendered(turns) == expected
            assert text == expected.text


def test_one_that_cannot_be_rendered_leaves_the_others():
    strict = "{% for m in messages %}{% if 'no' in m['content'][0]['text'] %}"
    strict += "{{ raise_exception('refused') }}{% endif %}{{ m['content'][0]['text'] }}</s>"
    chat = Chat(tiny_llava(strict + "{% endfor %}"))
    rows = [conversation("a", "b"), conversation("no", "b"), conversation("</s>", "b"), ROWS[2]]
    good, refused, special, other = chat.texts(rows)
    assert (good, other) == ("a</s>b</s>", "  a  </s>b</s>")
    assert "refused" in str(refused)
    assert "special token" in str(special)
    assert chat.texts([]) == []


def test_missing_template_is_a_user_error():
    with pytest.raises(UserError, match="no chat template that can be used"):
        Chat(tiny_llava(None))


@pytest.mark.parametrize("text", ["strike <s>this", "the end</s>", "<pad>"])
def test_special_tokens_in_text_are_refused(llava_processor, text):
    with pytest.raises(RenderError, match="special token"):
        Chat(llava_processor).messages([Turn("assistant", text)])
