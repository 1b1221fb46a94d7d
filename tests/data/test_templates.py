"""Which templates pass texts on, and that it holds whatever the texts are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptinf.data.chat import Chat, RenderError
from adaptinf.data.templates import passes_texts_on
from tests.data.test_chat import LLAVA_HF, TRIMMING, conversation
from tests.families.processors import CHAT_TEMPLATE, tiny_llava

# The forms that these families' templates have.
QWEN = (
    "{% set count = namespace(value=0) %}{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|system|>Be kind.</s>\n{% endif %}"
    "<|{{ message['role'] }}|>\n"
    "{% if message['content'] is string %}{{ message['content'] }}</s>\n{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content %}"
    "{% set count.value = count.value + 1 %}"
    "{% if number %}Picture {{ count.value }}: {% endif %}<image>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}</s>\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SMOL = (
    "{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)
ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles alternate') }}{% endif %}"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content[0].text ~ '</s>' }}"
    "{% endgeneration %}{% else %}{{ '[' + m.content[0].text + ']' }}{% endif %}{% endfor %}"
)
PASSING = [LLAVA_HF, QWEN, SMOL, CHAT_TEMPLATE, ALTERNATING]


@pytest.mark.parametrize("template", PASSING)
def test_templates_that_only_write_texts_pass_them_on(template):
    assert passes_texts_on(template)


@pytest.mark.parametrize(
    "template",
    [
        TRIMMING,
        "{% for m in messages %}{{ m.content[0]['text'].strip() }}{% endfor %}",
        "{% for m in messages %}{{ m.content[0]['text'].split('</think>')[-1] }}{% endfor %}",
        "{% for m in messages %}{% if 'no' in m.content[0].text %}{{ 'x' }}{% endif %}{% endfor %}",
        "{% for m in messages %}{{ 'x' if m.content[0].text else 'y' }}{% endfor %}",
        "{% for m in messages %}{% set t = m.content[0].text %}{{ t }}{% endfor %}",
        "{% for m in messages %}{% for key in m.content[0] %}{{ m.content[0][key] }}{% endfor %}"
        "{% endfor %}",
        "{% for v in messages[0].content[0].values() %}{{ v }}{% endfor %}",
        "{% for m in messages %}{{ m.content | tojson }}{% endfor %}",
        "{% for m in messages %}{{ m.content | map(attribute='text') | join }}{% endfor %}",
        "{% for c in m.content | selectattr('text', 'equalto', 'a') %}a{% endfor %}",
        "{% macro say(m) %}{{ m.content[0].text }}{% endmacro %}{{ say(messages[0]) }}",
        "{% for m in messages %}{% filter upper %}{{ m.content[0].text }}{% endfilter %}"
        "{% endfor %}",
        "{{ messages[0].content[0]['te' ~ 'xt'] }}",
        "{% if %}",
    ],
)
def test_those_that_look_at_texts_do_not(template):
    assert not passes_texts_on(template)


def test_a_list_that_is_printed_is_not_taken_for_its_text():
    """Its syntax is harmless, but its texts come out quoted: no frame is found for it."""
    printing = "{% for m in messages %}{{ m['content'] }}</s>{% endfor %}"
    assert passes_texts_on(printing)
    chat = Chat(tiny_llava(printing))
    rows = [conversation("a", "it's"), conversation('b"', "c\\")]
    assert chat.texts(rows) == [chat.rendered(turns).text for turns in rows]


@pytest.mark.parametrize("template", PASSING)
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(), min_size=2, max_size=6).filter(lambda x: len(x) % 2 == 0))
def test_any_texts_are_written_as_the_template_does(template, texts):
    chat = Chat(tiny_llava(template))
    turns = conversation(*texts)
    (found,) = chat.texts([turns])
    if isinstance(found, RenderError):
        with pytest.raises(RenderError):
            chat.rendered(turns)
    else:
        assert found == chat.rendered(turns).text
