"""Takes out of a text what looks like a credential, before the text is kept or shown.

What is looked for, in this order; each is replaced by REMOVED:

| form | example |
|---|---|
| private keys | PEM, RFC 7468 |
| values of fields with a telling name | JSON, also quoted within JSON, and Python's way of it |
| elements and attributes with a telling name | XML |
| pairs with a telling name | `name=value` in forms and URLs; headers, to the end of the line |
| user and password in an address | RFC 3986 userinfo: `https://user:password@host` |
| credentials after a scheme | RFC 9110, section 11: `Bearer …`, `Basic …` |
| tokens known by their form | JWT (RFC 7519: base64url of `{"`), `whsec_…`, AWS's `AKIA…` |

It errs on the side of removing. What is left is no proof that nothing secret is in it: a
password in the middle of a sentence looks like any word.
"""

from __future__ import annotations

import re
from typing import Final

REMOVED: Final = "[removed]"
MOST: Final = 4_096
"""Characters that are kept unless told otherwise."""
_READ: Final = 65_536
"""Characters that are looked at; what comes after is cut off unread."""

_TELLING: Final = (
    "authorization",
    "apikey",
    "accesskey",
    "cookie",
    "credential",
    "passphrase",
    "passwd",
    "password",
    "passwort",
    "privatekey",
    "secret",
    "sessionid",
    "signature",
    "token",
)
_TELLING_WHOLE: Final = frozenset({"auth", "jwt", "pass", "pin", "pwd", "session", "sid", "xauth"})
_NO_LETTERS: Final = re.compile(r"[^a-z0-9]+")

_PEM: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
_FIELD: Final = re.compile(
    r"""(?P<esc>\\{0,8})(?P<q>["'])(?P<name>[^"'\\]{1,64})(?P=esc)(?P=q)\s*[:=]\s*"""
)
_ELEMENT: Final = re.compile(
    r"<(?P<name>[A-Za-z_][\w:.-]{0,63})(?P<rest>(?:\s[^<>]{0,512})?)>"
    r"(?P<value><!\[CDATA\[.{0,2048}?(?:\]\]>|\Z)|[^<]+)",
    re.DOTALL,
)
_PAIR: Final = re.compile(
    r"""(?<![\w%.-])(?P<name>[\w%.\-\[\]]{1,64})(?P<mid>\s{0,4}=\s{0,4})"""
    r"""(?P<value>"[^"]*"?|'[^']*'?|[^&\s;,"'<>]+)"""
)
_HEADER: Final = re.compile(r"(?<![\w.-])(?P<name>[\w.-]{1,64})[ \t]{0,4}:[ \t]{0,4}(?=\S)")
_USERINFO: Final = re.compile(r"""(?i)\b([a-z][a-z0-9+.-]{0,20}://)[^\s/?#"'<>]{1,512}@""")
_SCHEME: Final = re.compile(
    r"(?i)\b(?P<scheme>bearer|basic|digest|negotiate|session|token|apikey)"
    r"(?P<mid>[ \t]+)(?P<value>[A-Za-z0-9+/=._~-]{6,})"
)
_FORMS: Final = re.compile(
    r"(?<![\w-])eyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?|\bwhsec_[A-Za-z0-9+/=]+|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
)
_PROSE: Final = frozenset({"authentication", "authorization", "realm", "scheme", "token", "tokens"})
_BARE_END: Final = re.compile(r"[,}\]\s&;]")
_CLOSES: Final = {"[": "]", "{": "}"}


def secret_name(name: str) -> bool:
    """Whether a field, header or parameter of that name is taken for a credential."""
    plain = _NO_LETTERS.sub("", name.lower())
    return plain in _TELLING_WHOLE or any(word in plain for word in _TELLING)


def scrub(text: str, *, most: int = MOST) -> str:
    """The text without what looks like a credential, at most `most` characters.

    Control characters but tab and newline go too: they could steer the terminal it is shown on.
    """
    text = "".join(c if c.isprintable() or c in "\n\t" else " " for c in text[:_READ])
    text = _PEM.sub(REMOVED, text)
    text = _fields(text)
    text = _ELEMENT.sub(_element, text)
    text = _PAIR.sub(_pair, text)
    text = "\n".join(_headers(line) for line in text.split("\n"))
    text = _USERINFO.sub(rf"\g<1>{REMOVED}@", text)
    text = _SCHEME.sub(_scheme, text)
    text = _FORMS.sub(REMOVED, text)
    return text if len(text) <= most else text[: most - 1] + "…"


def _fields(text: str) -> str:
    """JSON and its like: the values of telling names, whatever is in them."""
    out: list[str] = []
    done = 0
    for found in _FIELD.finditer(text):
        if found.start() < done or not secret_name(found["name"]):
            continue
        end = _value_end(text, found.end(), found["esc"])
        out += (
            text[done : found.end()],
            f"{found['esc']}{found['q']}{REMOVED}{found['esc']}{found['q']}",
        )
        done = end
    return "".join((*out, text[done:]))


def _value_end(text: str, at: int, escape: str) -> int:
    """Where the value that begins at `at` ends; the text's end where it is not closed."""
    if at >= len(text):
        return at
    if text.startswith(escape, at) and text[at + len(escape) : at + len(escape) + 1] in {'"', "'"}:
        return _string_end(text, at + len(escape), escape)
    if text[at] not in _CLOSES:
        found = _BARE_END.search(text, at)
        return found.start() if found else len(text)
    open_, position = [_CLOSES[text[at]]], at + 1
    while position < len(text) and open_:
        character = text[position]
        if character in {'"', "'"}:
            position = _string_end(text, position, escape)
            continue
        if character in _CLOSES:
            open_.append(_CLOSES[character])
        elif character == open_[-1]:
            open_.pop()
        position += 1
    return position


def _string_end(text: str, at: int, escape: str) -> int:
    """After the string whose quote stands at `at`; `escape` is what stands before its quotes."""
    quote, position = text[at], at + 1
    while position < len(text):
        if text[position] == "\\":
            run = position
            while run < len(text) and text[run] == "\\":
                run += 1
            closes = run < len(text) and text[run] == quote and run - position == len(escape)
            if closes:
                return run + 1
            position = run + 1
            continue
        if text[position] == quote and not escape:
            return position + 1
        position += 1
    return position


def _element(found: re.Match[str]) -> str:
    if not secret_name(found["name"].rpartition(":")[2]):
        return found[0]
    return f"<{found['name']}{found['rest']}>{REMOVED}"


def _pair(found: re.Match[str]) -> str:
    return f"{found['name']}{found['mid']}{REMOVED}" if secret_name(found["name"]) else found[0]


def _headers(line: str) -> str:
    """A line up to the value of the first telling name: what follows may belong to that."""
    for found in _HEADER.finditer(line):
        if secret_name(found["name"]):
            return line[: found.end()] + REMOVED
    return line


def _scheme(found: re.Match[str]) -> str:
    scheme, value = found["scheme"].lower(), found["value"]
    word = value.rstrip(".").lower()
    prose = word in _PROSE if scheme == "bearer" else word.isalpha() and value[1:].islower()
    return found[0] if prose else f"{found['scheme']}{found['mid']}{REMOVED}"
