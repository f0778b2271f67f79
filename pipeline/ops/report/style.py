"""The page's look: one type scale, light and dark, and on paper."""

from typing import Final

LIGHT: Final = {
    "ground": "#f6f5f2",
    "surface": "#ffffff",
    "ink": "#1c2127",
    "muted": "#59626d",
    "line": "#dcdee2",
    "good": "#1f7a5c",
    "bad": "#c2410c",
    "held": "#3b6ea5",
    "fourth": "#80868f",
}
DARK: Final = {
    "ground": "#14171a",
    "surface": "#1c2024",
    "ink": "#eceae6",
    "muted": "#a3abb5",
    "line": "#363c43",
    "good": "#4cba93",
    "bad": "#f0824a",
    "held": "#78a9dd",
    "fourth": "#8b929b",
}


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colours.items())


CSS: Final = (
    f":root{{color-scheme:light dark;{_variables(LIGHT)}}}"
    f"@media (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}"
    """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--ground);color:var(--ink);font:1rem/1.55 system-ui,-apple-system,
"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums}
a{color:var(--held)}
a:focus-visible,.scroll:focus-visible{outline:2px solid var(--held);outline-offset:2px}
main,header,footer{max-width:70rem;margin:0 auto;padding:0 1.5rem}
header{padding-top:3rem}
h1{font-size:2rem;line-height:1.2;letter-spacing:-.015em;margin:0 0 .4rem}
h2{font-size:1.3rem;line-height:1.3;letter-spacing:-.01em;margin:0 0 .25rem}
h3{font-size:1rem;margin:1.5rem 0 .25rem}
p{margin:.3rem 0;max-width:46rem}
header .facts{max-width:none}
.facts,.source,footer,.more{color:var(--muted);font-size:.875rem}
nav{margin:1rem 0 0;font-size:.9375rem}
nav a{margin-right:1rem;white-space:nowrap}
.note{border-left:3px solid var(--bad);padding:.1rem 0 .1rem .8rem;margin-top:1rem}
section{background:var(--surface);border:1px solid var(--line);border-radius:.6rem;
padding:1.5rem;margin:1.5rem 0}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,16rem),1fr));gap:1px;
background:var(--line);border:1px solid var(--line);border-radius:.6rem;overflow:hidden;padding:0;
margin:1.5rem 0}
.card{background:var(--surface);padding:1.1rem 1.25rem}
.card h3{margin:0;font-weight:500;font-size:.875rem;color:var(--muted)}
.card .figure{color:var(--ink);font-size:1.75rem;line-height:1.25;font-weight:600;
letter-spacing:-.02em;margin:.1rem 0}
.card p{font-size:.875rem;color:var(--muted);margin:0}
.pair{display:grid;grid-template-columns:minmax(0,1fr);gap:1.25rem;margin-top:1rem}
figure{margin:0;min-width:0;overflow-x:auto}
figure svg{display:block;width:100%;max-width:54rem;height:auto}
svg *{stroke-linejoin:round;stroke-linecap:butt}
.scroll{overflow-x:auto;min-width:0}
table{border-collapse:collapse;width:100%;font-size:.875rem;line-height:1.4}
caption{text-align:left;color:var(--muted);padding-bottom:.4rem}
th,td{padding:.35rem .5rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{padding-left:0}
thead th{font-weight:600;color:var(--muted);vertical-align:bottom;border-bottom-color:var(--muted)}
tbody th{font-weight:500}
.n{text-align:right;white-space:nowrap}
thead .n{white-space:normal}
.w{overflow-wrap:anywhere;min-width:8rem}
.unseen{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.nothing{color:var(--muted);margin-top:1rem}
footer{padding-bottom:3rem}
@media (max-width:40rem){figure svg{min-width:34rem}
table{width:max-content;min-width:100%}.w{max-width:15rem}
main,header,footer{padding-left:1rem;padding-right:1rem}
section{padding:1rem}header{padding-top:1.5rem}}
@media print{"""
    f":root{{color-scheme:light;{_variables(LIGHT)}}}"
    """
@page{margin:15mm}
body{background:none;font-size:10pt}
main,header,footer{max-width:none;padding:0}
nav{display:none}
section{border:0;padding:0;margin:8mm 0;border-radius:0}
h2,caption{break-after:avoid}
figure,tr,.card{break-inside:avoid}
.pair{display:block}
.pair>*+*{margin-top:4mm}
.scroll,figure{overflow:visible}
figure svg{min-width:0}
.w{min-width:5.5rem}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}"""
)
