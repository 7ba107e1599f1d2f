"""What the pages for people share: their look, the policy that admits it, and how foreign text is written.

Style and script stand in each page and are admitted by their digest. So a page is whole with one request, at every
address, from a folder as well, and never meets the style of another release.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache

from mirror.layout import SIMPLE
from mirror.plain import DIRECTIONS
from mirror.simple.html import escape, plain

ADDRESS = "https://mirror.example/"
"""Stands for the address of the mirror where no script puts in the one that the browser shows."""
INDEX = f"<mark>{ADDRESS}</mark>{SIMPLE}"
"""The simple index in a snippet, as HTML."""

_DIRECTIONS = re.compile(f"[{DIRECTIONS}]")

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2330;--soft:#5a6475;--page:#fbfaf7;--card:#fff;--line:#e3e0d8;--link:#0b5cad;
--warn:#8f3a06;--warn-bg:#fdf0e3;--note:#5a6475;--note-bg:#eeece5;--mark:#fdf1b8;--accent:#0f766e}
@media(prefers-color-scheme:dark){:root{--ink:#e7e9ee;--soft:#a3adbd;--page:#12151b;--card:#1a1f28;--line:#2d3440;
--link:#82b8f7;--warn:#f6b27c;--warn-bg:#3a2614;--note:#b3bccb;--note-bg:#272e3a;--mark:#4d430f;--accent:#5cc8bd}}
*{box-sizing:border-box}[hidden]{display:none!important}
body{margin:0;border-top:4px solid var(--accent);background:var(--page);color:var(--ink);
font:16px/1.6 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;-webkit-text-size-adjust:100%}
.wrap{max-width:68rem;margin:0 auto;padding:0 1.5rem}
header{padding:2.75rem 0 0}
h1{font-size:2.25rem;line-height:1.15;letter-spacing:-.02em;margin:0 0 .75rem;overflow-wrap:anywhere}
h2{font-size:1.3rem;letter-spacing:-.01em;margin:3rem 0 .75rem}
h3{font-size:1rem;margin:0 0 .6rem}
p{margin:0 0 1rem;max-width:46rem}
.lead{font-size:1.1rem;color:var(--soft);overflow-wrap:anywhere}
a{color:var(--link);text-decoration-thickness:1px;text-underline-offset:.2em}
a:hover{text-decoration-thickness:2px}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px;border-radius:3px}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.85rem}
.figures{display:grid;grid-template-columns:repeat(4,1fr);gap:1px;margin:2rem 0 0;padding:0;background:var(--line);
border:1px solid var(--line);border-radius:10px;overflow:hidden}
.figures div{background:var(--card);padding:1rem 1.25rem;display:flex;flex-direction:column-reverse;
justify-content:flex-end}
.figures dt{color:var(--soft);font-size:.875rem}
.figures dd{margin:0;font-size:1.5rem;font-weight:650;letter-spacing:-.02em;line-height:1.25;
font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.figures .long{font-size:1rem;letter-spacing:0;line-height:1.4}
.ways{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:1rem}
.way{position:relative;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1.1rem 1.25rem;
min-width:0}
.wide{grid-column:1/-1}
.way p{color:var(--soft);font-size:.925rem;margin:.7rem 0 0}
pre{margin:0;overflow-x:auto;line-height:1.6}
mark{background:var(--mark);color:inherit;border-radius:3px;padding:.08em .15em}
button{position:absolute;top:.9rem;right:1rem;font:inherit;font-size:.8rem;line-height:1.5;padding:.1em .7em;
color:var(--soft);background:var(--card);border:1px solid var(--line);border-radius:99px;cursor:pointer}
button:hover{color:var(--ink);border-color:var(--soft)}
.warn,.tell{margin:1rem 0 0;max-width:none;border-left:4px solid var(--warn);background:var(--warn-bg);
padding:.85rem 1.1rem;border-radius:0 8px 8px 0;overflow-wrap:anywhere}
.tell{border-color:var(--soft);background:var(--note-bg)}
.number{text-align:right;color:var(--soft);font-variant-numeric:tabular-nums;white-space:nowrap}
.tag{display:inline-block;font-size:.75rem;font-weight:400;letter-spacing:0;line-height:1.5;padding:0 .5em;
border-radius:99px;color:var(--note);background:var(--note-bg);white-space:nowrap}
.tag.bad{color:var(--warn);background:var(--warn-bg)}
table{width:100%;border-collapse:collapse}
th{text-align:left;font-size:.8rem;font-weight:600;color:var(--soft)}
th,td{padding:.5rem 1.25rem .5rem 0;border-bottom:1px solid var(--line);vertical-align:baseline}
th:last-child,td:last-child{padding-right:0}
th.number{text-align:right}
footer{margin:3rem 0;color:var(--soft);font-size:.875rem}
@media(max-width:46rem){pre code{font-size:.8rem}
.wrap{padding:0 1.1rem}header{padding-top:1.75rem}h1{font-size:1.8rem}.lead{font-size:1.02rem}
.figures{grid-template-columns:repeat(2,1fr)}.ways{grid-template-columns:minmax(0,1fr)}}
"""

_SCRIPT = """
const root=new URL(document.body.dataset.root,location.href).href;
for(const mark of document.querySelectorAll('mark'))mark.textContent=root;
for(const hint of document.querySelectorAll('.hint'))hint.hidden=true;
if(navigator.clipboard)for(const block of document.querySelectorAll('.way pre')){
const button=document.createElement('button');
button.type='button';button.textContent='Copy';
button.addEventListener('click',async()=>{await navigator.clipboard.writeText(block.textContent);
button.textContent='Copied';setTimeout(()=>{button.textContent='Copy'},1500)});
block.before(button)}
"""


@dataclass(frozen=True, slots=True)
class Dress:
    """The style and script of one kind of page."""

    style: str
    script: str

    @classmethod
    def of(cls, style: str = "", script: str = "") -> Dress:
        """What all pages wear, and more of it."""
        return cls(_STYLE + style.removeprefix("\n"), _SCRIPT + script.removeprefix("\n"))


@lru_cache
def policy(*dresses: Dress) -> str:
    """The Content-Security-Policy that admits the styles and scripts of some kinds of page, by their digest."""
    sources = {
        "script-src": [_source(dress.script) for dress in dresses],
        "style-src": [_source(dress.style) for dress in dresses],
    }
    admitted = [f"{directive} {' '.join(digests)}" for directive, digests in sources.items()]
    return "; ".join(("default-src 'none'", *admitted, "base-uri 'none'", "form-action 'none'"))


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def opening(dress: Dress, title: str, root: str) -> str:
    """The page up to its content. `title` is HTML; `root` leads from the page to where the site begins."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy(dress))}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{title}</title>\n<style>{dress.style}</style>\n</head>\n"
        f'<body data-root="{root}">\n<div class="wrap">\n'
    )


def closing(dress: Dress) -> str:
    """The page from its content on."""
    return f"</div>\n<script>{dress.script}</script>\n</body>\n</html>\n"


def ascii_bytes(parts: list[str]) -> bytes:
    """The page as it is stored; readers that mistake its encoding read numeric references all the same."""
    return "".join(parts).encode("ascii", "xmlcharrefreplace")


def foreign(text: str) -> str:
    """Text of strangers as HTML: on one line, and unable to turn the text around it."""
    return escape(plain(_DIRECTIONS.sub("", text)))


def snippet(code: str, label: str) -> str:
    """A block of code as HTML, which can be scrolled by keyboard; `code` is HTML itself."""
    return f'<pre tabindex="0" role="region" aria-label="{label}"><code>{code}</code></pre>'


def status_tag(status: str) -> str:
    """A project's status as a tag, with a space before it; nothing for an active one."""
    if status == "active":
        return ""
    return f' <span class="tag{" bad" if status == "quarantined" else ""}">{foreign(status)}</span>'


YANKED = ' <span class="tag bad">yanked</span>'
