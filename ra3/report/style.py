"""The page's looks: one style sheet, system fonts, light and dark, printable. Colours mean the same everywhere."""

from __future__ import annotations

LEVELS = range(1, 9)

LIGHT = """
--page:#f6f7f8; --card:#fff; --ink:#1d2329; --soft:#5d6873; --line:#e2e6ea; --grid:#d9dee3; --track:#eceff2;
--base:#7d8791; --ntp:#2470b8; --ra3:#d9651b; --s1:#2c8a5b; --s2:#8b5fc0; --s3:#b7466b; --s4:#8a7a1f;
--s5:#1b8a9c; --s6:#6a5acd; --s7:#9c5a2e; --s8:#5b8a1b;
--good:27 128 86; --bad:190 45 105; --intention:#b24f0e; --intention-bg:#fdf1e6;
"""
DARK = """
--page:#14171a; --card:#1c2024; --ink:#e4e8ec; --soft:#9aa5b0; --line:#2e343a; --grid:#394047; --track:#2a3036;
--base:#98a2ac; --ntp:#5aa5ea; --ra3:#f28a45; --s1:#55b588; --s2:#b08ae0; --s3:#e07a9a; --s4:#c2b04f;
--s5:#4fbccc; --s6:#9a8cf0; --s7:#d0926a; --s8:#9ac65a;
--good:62 190 130; --bad:238 92 150; --intention:#f5a468; --intention-bg:#2c231b;
"""
RULES = """
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif}
main{max-width:1120px;margin:0 auto;padding:32px 24px 64px}
header{margin:0 0 28px}
.eyebrow{margin:0 0 10px;color:var(--soft);font-size:13px}
.eyebrow b{color:var(--ra3)}
h1{margin:0 0 10px;font-size:27px;line-height:1.28;font-weight:650;letter-spacing:-.01em;text-wrap:pretty}
.verdict{margin:0;color:var(--soft);font-size:16px;max-width:100ch}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:20px 24px 24px;margin:0 0 18px}
h2{margin:0 0 4px;font-size:18px;font-weight:650}
h3{margin:0;font-size:14px;font-weight:600}
h4{margin:14px 0 6px;font-size:13px;font-weight:600;color:var(--soft)}
.intro{margin:0 0 14px;color:var(--soft);max-width:80ch}
.plain{color:var(--soft);margin:8px 0}
.plain.good{color:rgb(var(--good))}
.troubles{border-left:3px solid rgb(var(--bad));padding-left:12px}
code,pre{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:12.5px}
code{overflow-wrap:anywhere}
pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere}
.swatch{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:7px;background:currentColor;
border:2px solid currentColor}
.swatch.hollow{background:none}
.swatches{display:flex;flex-wrap:wrap;gap:4px 20px;margin:0 0 14px;font-size:13px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:left;vertical-align:top;padding:7px 14px 7px 0}
tr+tr>*{border-top:1px solid var(--line)}
th{font-weight:600}
th[scope=col]{color:var(--soft);font-size:13px}
section h3+.intro{margin-bottom:6px}
.wide+h3,.plots+h3,.wide+.plots{margin-top:22px}
.wide{overflow-x:auto}
.results{margin:10px 0 18px;width:100%;table-layout:fixed}
.results caption{text-align:left;color:var(--soft);font-size:13px;padding:0 0 4px}
.results th[scope=row]{padding-top:9px}
.results th[scope=col]:first-child{width:190px}
.results tr:first-child .swatch{vertical-align:-1px}
.results td{padding:7px 32px 9px 0}
.mean{font-size:17px;font-weight:650}
.range{color:var(--soft);font-size:12px;white-space:nowrap}
.none{color:var(--soft)}
.bar{display:block;position:relative;height:6px;margin:4px 0 0;border-radius:3px;background:var(--track)}
.bar i{position:absolute;top:0;height:6px;min-width:2px;border-radius:3px;background:currentColor;opacity:.42}
.bar b{position:absolute;top:-2px;width:4px;height:10px;margin-left:-2px;border-radius:2px;background:currentColor}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(310px,1fr));gap:22px 26px}
.plots figure{margin:0;min-width:0}
.plots figcaption{color:var(--soft);font-size:12.5px;line-height:1.4}
.plots svg{display:block;width:100%;height:auto;max-width:460px;margin:4px 0 2px;font-family:inherit}
.plots svg text{font-family:inherit}
.plots.large{grid-template-columns:repeat(auto-fill,minmax(460px,1fr))}
.plots.large svg{max-width:560px}
.runs .mean{font-size:14px;display:block}
.runs .up{color:rgb(var(--good))}.runs .down{color:rgb(var(--bad))}
.words pre{font-size:11.5px;line-height:1.35}
.words td{font-size:13px}
.runs td,.glossary td,.glossary th{font-size:13px}
.glossary th code{white-space:nowrap}
.glossary td:nth-child(3){min-width:220px}
.last span[title]{display:block;white-space:nowrap}
.last i{color:var(--soft);font-style:normal;font-size:11.5px}
.alarms{margin:8px 0 0;padding-left:20px}
.alarms li{margin:4px 0}
details{border-top:1px solid var(--line);padding:10px 0 4px}
details:first-of-type{border-top:0}
summary{cursor:pointer;font-weight:600}
summary code{font-weight:400;color:var(--soft);margin-left:8px}
.facts th{font:12.5px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;color:var(--soft);padding:3px 18px 3px 0}
.facts td{font-size:13px;padding:3px 0;overflow-wrap:anywhere}
.facts tr+tr>*{border-top:0}
.sides{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr));gap:6px 22px}
.side{min-width:0}
.side figure{margin:0 0 14px}
.side figcaption{font-size:12.5px;color:var(--soft);margin:0 0 4px}
.code{border:1px solid var(--line);border-radius:8px;padding:10px 12px;line-height:1.6;max-height:520px;overflow:auto;
unicode-bidi:isolate;tab-size:4}
.context{color:var(--soft);opacity:.8}
.decision:not(.intention *){border-bottom:1px dotted var(--soft)}
.code .intention{display:block;margin:2px 0 2px -12px;padding-left:9px;border-left:3px solid var(--intention);
background:var(--intention-bg);font-style:italic;font-weight:600}
.end{opacity:.55;font-style:normal;font-weight:400}
.badge{margin-left:8px;padding:1px 7px;border-radius:9px;font-size:11.5px;border:1px solid currentColor}
.badge.good{color:rgb(var(--good))}.badge.bad{color:rgb(var(--bad))}
.legend{display:flex;flex-wrap:wrap;align-items:center;gap:4px 10px;margin:8px 0 6px;font-size:12.5px;color:var(--soft)}
.legend b{font-weight:500;color:var(--ink)}
.ramp{display:inline-flex;border:1px solid var(--line);border-radius:4px;overflow:hidden}
.ramp span{width:12px;height:14px}
.key{margin-left:10px;font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.key.intention{padding:0 8px;border-left:3px solid var(--intention);background:var(--intention-bg);
color:var(--ink);font-style:italic;font-weight:600}
.key.expert,.key.act{color:var(--ink)}
.key.act{border-bottom:1px dotted var(--soft)}
@media(max-width:640px){main{padding:20px 12px 40px}section{padding:16px 14px}h1{font-size:22px}}
@media print{body{background:#fff}section{break-inside:avoid;border-color:#ccc}.code{max-height:none}}
"""


def style_sheet() -> str:
    """The whole sheet; p1..p8 and n1..n8 are the shades of credit and blame."""
    shades = "".join(
        f".{sign}{level}{{background:rgb(var(--{colour})/{0.05 + 0.07 * level:.2f})}}"
        for sign, colour in (("p", "good"), ("n", "bad"))
        for level in LEVELS
    )
    dark = f"@media(prefers-color-scheme:dark){{:root{{{DARK}}}}}"
    return f":root{{color-scheme:light dark;{LIGHT}}}{dark}{RULES}{shades}"
