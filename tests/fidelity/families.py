"""Chat templates that behave as the families in the wild do, written anew around ``<|im_end|>``.

STABLE: appends, never looks back. STRIPPING: drops the reasoning of turns before the last user message and
trims contents, whatever a user message that is really a tool's answer looks like (Qwen3, Nemotron). MERGING:
adjacent tool results share one user block. TRIMMING: strips every content, and only the last turn shows an
empty thought. UNMARKED: plain text ends a turn. LATE: tools stand before the last user message (Mistral).
DATED: the date stands at the end. COUNTING: says how long the conversation is. SHOUTING: the way a turn is
asked for depends on what was said first.
"""

from __future__ import annotations

_CALLS = """\
{%- for call in message.tool_calls or [] -%}
{{- '<tool_call>{"name": "' + call.function.name + '", "arguments": ' -}}
{{- (call.function.arguments | tojson) + '}</tool_call>' -}}
{%- endfor -%}"""
_TOOLS = """\
{%- if tools -%}{{- '<|im_start|>system\\n' -}}
{%- for tool in tools -%}{{- tool | tojson -}}{%- endfor -%}{{- '<|im_end|>\\n' -}}{%- endif -%}"""
_BEGIN = "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
_THOUGHT = "{%- if message.reasoning_content -%}{{- '<think>' + message.reasoning_content + '</think>' -}}{%- endif -%}"

STABLE = f"""{_TOOLS}
{{%- for message in messages -%}}
{{{{- '<|im_start|>' + message.role + '\\n' -}}}}{_THOUGHT}{{{{- message.content or '' -}}}}{_CALLS}
{{{{- '<|im_end|>\\n' -}}}}
{{%- endfor -%}}{_BEGIN}"""

STRIPPING = f"""{_TOOLS}
{{%- set ns = namespace(last=-1) -%}}
{{%- for message in messages -%}}
{{%- if message.role == 'user' and not (message.content.startswith('<tool_response>')
  and message.content.endswith('</tool_response>')) -%}}{{%- set ns.last = loop.index0 -%}}{{%- endif -%}}
{{%- endfor -%}}
{{%- for message in messages -%}}
{{{{- '<|im_start|>' + message.role + '\\n' -}}}}
{{%- if message.role == 'assistant' -%}}
{{%- set content = (message.content or '') | trim -%}}
{{%- set thought = message.reasoning_content or '' -%}}
{{%- if not thought and '</think>' in content -%}}
{{%- set thought = content.split('</think>')[0].split('<think>')[-1].strip('\\n') -%}}
{{%- set content = content.split('</think>')[-1].lstrip('\\n') -%}}
{{%- endif -%}}
{{%- if loop.index0 > ns.last and (loop.last or thought) -%}}
{{{{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n' -}}}}{{%- endif -%}}
{{{{- content -}}}}{_CALLS}
{{%- else -%}}{{{{- (message.content or '') | trim -}}}}{{%- endif -%}}
{{{{- '<|im_end|>\\n' -}}}}
{{%- endfor -%}}{_BEGIN}"""

MERGING = f"""{_TOOLS}
{{%- for message in messages -%}}
{{%- if message.role == 'tool' -%}}
{{%- if loop.first or messages[loop.index0 - 1].role != 'tool' -%}}{{{{- '<|im_start|>user\\n' -}}}}{{%- endif -%}}
{{{{- '<tool_response>' + message.content + '</tool_response>' -}}}}
{{%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%}}{{{{- '<|im_end|>\\n' -}}}}{{%- endif -%}}
{{%- else -%}}
{{{{- '<|im_start|>' + message.role + '\\n' -}}}}{_THOUGHT}{{{{- message.content or '' -}}}}{_CALLS}
{{{{- '<|im_end|>\\n' -}}}}
{{%- endif -%}}
{{%- endfor -%}}{_BEGIN}"""

TRIMMING = f"""{_TOOLS}
{{%- for message in messages -%}}
{{{{- '<|im_start|>' + message.role + '\\n' -}}}}
{{%- if message.role == 'assistant' and (message.reasoning_content or loop.last) -%}}
{{{{- '<think>' + (message.reasoning_content or '') | trim + '</think>' -}}}}{{%- endif -%}}
{{{{- (message.content or '') | trim -}}}}{_CALLS}
{{{{- '<|im_end|>\\n' -}}}}
{{%- endfor -%}}{_BEGIN}"""

UNMARKED = """\
{%- for message in messages -%}
{{- message.role + ': ' + (message.content or '') + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'assistant: ' -}}{%- endif -%}"""

LATE = f"""\
{{%- set ns = namespace(last=-1) -%}}
{{%- for message in messages -%}}
{{%- if message.role == 'user' -%}}{{%- set ns.last = loop.index0 -%}}{{%- endif -%}}
{{%- endfor -%}}
{{%- for message in messages -%}}
{{%- if loop.index0 == ns.last -%}}{_TOOLS}{{%- endif -%}}
{{{{- '<|im_start|>' + message.role + '\\n' -}}}}{_THOUGHT}{{{{- message.content or '' -}}}}{_CALLS}
{{{{- '<|im_end|>\\n' -}}}}
{{%- endfor -%}}{_BEGIN}"""

DATED = STABLE.removesuffix(_BEGIN) + (
    "{{- '<|im_start|>system\\nToday is ' + (today or 'unknown') + '<|im_end|>\\n' -}}" + _BEGIN
)

COUNTING = STABLE.removesuffix(_BEGIN) + (
    "{%- if messages | length > 9 -%}{{- '<|im_start|>system\\nBe brief<|im_end|>\\n' -}}{%- endif -%}" + _BEGIN
)

SHOUTING = STABLE.removesuffix(_BEGIN) + (
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}"
    "{%- if 'SHOUT' in messages[0].content -%}{{- 'HEAR: ' -}}{%- endif -%}{%- endif -%}"
)
