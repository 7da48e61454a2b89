"""Draws the one trace among spans that goes from a webhook to the survey's question, as an SVG for light and dark pages."""

import json
import sys
from xml.sax.saxutils import escape

# A trace that has all of these went the whole way.
WAY = [
    "/webhooks/{tenant}/{channel}",
    "event.interaction_received.handle",
    "event.interaction_identified.handle",
    "event.work_requested.handle",
    "event.offer_made.handle",
    "/trama.case.v1.CaseService/ResolveCase",
    "event.case_resolved.handle",
    "event.survey_question_asked.handle",
]
# What people would say is going on, at the beginning of the n-th span of a name.
MOMENTS = [
    ("/webhooks/{tenant}/{channel}", 0, "Giulia writes"),
    ("/trama.routing.v1.DeskService/AcceptOffer", 0, "Carla takes it"),
    ("/trama.case.v1.CaseService/ReplyToCase", 0, "she answers"),
    ("provider.message.send", 0, "the answer leaves"),
    ("/trama.case.v1.CaseService/ResolveCase", 0, "the need is met"),
    ("provider.message.send", 1, "“how was it?”"),
]
# Light, dark.
COLOURS = {
    "ingest": ("#0969da", "#4c9aff"),
    "identity-resolution": ("#8250df", "#b392f0"),
    "case": ("#1a7f37", "#4ac26b"),
    "routing": ("#bf8700", "#e3b341"),
    "notification": ("#bf3989", "#f778ba"),
    "survey": ("#cf4a22", "#ff9468"),
}
WIDTH, PADDING, ROW, INDENT = 1000, 24, 24, 10
LEFT, RIGHT = 436, WIDTH - PADDING - 54  # of the bars; durations stand beside them
TOP = 152


def choose(spans):
    traces = {}
    for span in spans:
        traces.setdefault(span["trace"], []).append(span)
    whole = [trace for trace in traces.values() if set(WAY) <= {span["name"] for span in trace}]
    if not whole:
        sys.exit("draw.py: no trace goes from a webhook to the survey's question")
    return min(whole, key=lambda trace: min(span["begin"] for span in trace))


def in_order(trace):
    """Spans with their depth: parents before children, in the order of time."""
    known = {span["id"] for span in trace}
    children = {}
    for span in sorted(trace, key=lambda span: span["begin"]):
        children.setdefault(span["parent"] if span["parent"] in known else "", []).append(span)
    rows = []

    def visit(parent, depth):
        for span in children.get(parent, []):
            rows.append((depth, span))
            visit(span["id"], depth + 1)

    visit("", 0)
    return rows


def short(name):
    return name.rsplit(".", 1)[-1] if name.startswith("/trama.") else name


def text(x, y, words, kind="", **more):
    attributes = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
    return f'<text x="{x:g}" y="{y:g}"{f" class={chr(34)}{kind}{chr(34)}" if kind else ""}{attributes}>{escape(words)}</text>'


def over(x, y, words, kind, halo):
    """A text over lines: they end before it."""
    return [text(x, y, words, f"{kind} {halo}".strip()), text(x, y, words, kind)]


def style():
    def scheme(n, card, line, band, strong, soft, tree):
        fills = "".join(f".{name} {{ fill: {colours[n]} }} " for name, colours in COLOURS.items())
        return (
            f".card {{ fill: {card}; stroke: {line} }} .band {{ fill: {band} }} .grid {{ stroke: {line} }} "
            f".moment {{ stroke: {soft}; stroke-dasharray: 2 3 }} text {{ fill: {strong} }} .soft {{ fill: {soft} }} "
            f".guide {{ stroke: {tree}; fill: none }} .halo {{ stroke: {card} }} "
            f".halo-band {{ stroke: {band} }} {fills}"
        )

    return (
        "<style>text { font: 12px ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif } "
        ".title { font-size: 19px; font-weight: 600 } .name { font-family: ui-monospace, 'SF Mono', Menlo, Consolas, "
        "'DejaVu Sans Mono', monospace; font-size: 11.5px } .number { font-size: 11px } "
        ".halo, .halo-band { stroke-width: 6px; stroke-linejoin: round } "
        + scheme(0, "#ffffff", "#d8dee4", "#f6f8fa", "#1f2328", "#59636e", "#afb8c1")
        + "@media (prefers-color-scheme: dark) { "
        + scheme(1, "#0d1117", "#30363d", "#151b23", "#f0f6fc", "#9198a1", "#484f58")
        + "}</style>"
    )


def draw(trace):
    rows = in_order(trace)
    zero = min(span["begin"] for span in trace)
    ms = lambda moment: (moment - zero) / 1e6
    whole = ms(max(span["end"] for span in trace))
    x = lambda at: LEFT + (RIGHT - LEFT) * at / whole
    bottom = TOP + ROW * len(rows)
    height = bottom + 44
    services = [name for name in COLOURS if any(span["service"] == name for span in trace)]
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="t d">',
        '<title id="t">One trace, from a webhook to the survey</title>',
        f'<desc id="d">A waterfall of {len(rows)} spans in {len(services)} services: a WhatsApp webhook, the event on its '
        "way through identity resolution, case and routing, an agent who answers and resolves, and the survey that asks."
        "</desc>",
        style(),
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        text(PADDING, 38, "One trace, from a webhook to the survey", "title"),
        text(
            PADDING,
            60,
            f"{len(rows)} spans of {len(services)} processes, over NATS and gRPC. A development build; the agent is a script and "
            "does not think.",
            "soft",
        ),
    ]
    at = PADDING
    for name in services:
        out.append(f'<rect class="{name}" x="{at}" y="78" width="11" height="11" rx="2.5"/>')
        out.append(text(at + 17, 88, name))
        at += 17 + 7 * len(name) + 22
    for n in range(0, len(rows), 2):
        out.append(f'<rect class="band" x="1" y="{TOP + ROW * n}" width="{WIDTH - 2}" height="{ROW}"/>')
    step = next(s for s in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if whole / s <= 10)
    for tick in range(0, int(whole) + 1, step):
        out.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" y2="{bottom}"/>')
        out.append(text(round(x(tick), 1), bottom + 18, f"{tick} ms", "soft number", text_anchor="middle"))
    captions = []
    for n, (name, which, words) in enumerate(MOMENTS):
        found = sorted((s for s in trace if s["name"] == name), key=lambda s: s["begin"])
        if which < len(found):
            here, line = round(x(ms(found[which]["begin"])), 1), TOP - 30 + 17 * (n % 2)
            out.append(f'<line class="moment" x1="{here}" x2="{here}" y1="{line - 8}" y2="{bottom}"/>')
            captions += over(here + 5, line + 2, words, "", "halo")
    out += captions
    place = {}
    for n, (depth, span) in enumerate(rows):
        y = TOP + ROW * n
        place[depth] = y + ROW
        if depth > 0:
            # From its parent, which is the last row that was less deep.
            guide = PADDING + INDENT * (depth - 1) + 3
            out.append(f'<path class="guide" d="M{guide} {place[depth - 1] - 4}V{y + 12}h5"/>')
        out.append(text(PADDING + INDENT * depth, y + 16, short(span["name"]), "name"))
        begin, end = ms(span["begin"]), ms(span["end"])
        width = max(x(end) - x(begin), 3)
        out.append(
            f'<rect class="{span["service"]}" x="{x(begin):.1f}" y="{y + 5}" width="{width:.1f}" height="{ROW - 10}" rx="3"/>'
        )
        took = end - begin
        words = f"{took:.1f} ms" if took < 10 else f"{took:.0f} ms"
        out += over(round(x(begin) + width + 6, 1), y + 16, words, "soft number", "halo" if n % 2 else "halo-band")
    out.append("</svg>")
    return "\n".join(out) + "\n"


def main(spans, picture):
    with open(spans, encoding="utf-8") as file:
        drawn = draw(choose(json.load(file)))
    with open(picture, "w", encoding="utf-8") as file:
        file.write(drawn)


main(*sys.argv[1:])
