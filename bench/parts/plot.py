"""Plots the results as SVG: a small chart for each result, with a bar for each subject from plain
sshd's value to its own, on a logarithmic scale. Right is always worse: speeds are shown as times.
"""

from html import escape
from math import log2

from parts.report import figure, more_is_better

# Name in the plot, and a colour that differs from the others on white and on black, also for
# colour-blind readers.
STYLE = {
    "sshbox": ("sshbox", "#2f81f7"),
    "container_sshd": ("sshd in the container", "#1a9e77"),
    "docker_exec": ("docker exec", "#d97706"),
    "python_gate": ("Python gate", "#b0599e"),
}
# The results in the plot, and their titles.
TITLES = {
    "login": "login",
    "command_over_controlmaster": "command, open connection",
    "first_byte": "first byte, open connection",
    "keystroke": "echo of a key",
    "wake": "login that wakes a box",
    "first_login": "first login",
    "download": "1 GiB down",
    "upload": "1 GiB up",
    "cpu_per_gib_down": "CPU time per GiB down",
    "cpu_per_gib_up": "CPU time per GiB up",
    "sftp_get": "sftp get, 256 MiB",
    "sftp_put": "sftp put, 256 MiB",
    "rsync": "rsync, 256 MiB",
    "small_files": "rsync, 2,000 small files",
    "session_pss_with_sshd": "memory of a session",
    "session_pss_tty_with_sshd": "memory, with a terminal",
    "forward_download": "512 MiB through -L",
    "forward_first_byte": "first byte through -L",
    "forward_100_at_once": "100 streams of 1 MiB through -L",
    "connection_pss": "memory of a connection",
    "login_50_at_once": "50 logins at once",
    "wake_10_at_once": "10 boxes wake at once",
    "login_with_100_sessions": "login, 100 sessions open",
    "command_with_100_sessions": "command, 100 sessions open",
    "login_with_100_boxes": "login, 100 boxes running",
    "command_with_100_boxes": "command, 100 boxes running",
}
HEADLINE = "Multiples of plain sshd's time, memory or CPU time; " "1× is plain, less is better"
COLUMNS = 3
WIDTH, BARS, FIGURES = 316, 176, 118
HEAD, ROW, FOOT = 26, 15, 26
MARGIN, TOP = 12, 64


def svg(outcome):
    charts = [
        (TITLES[name], outcome["results"][name])
        for name in TITLES
        if "plain" in outcome["results"].get(name, {}) and len(outcome["results"][name]) > 1
    ]
    shown = [(title, result, multiples(result)) for title, result in charts]
    values = [value for _, _, some in shown for value in some.values() if value]
    # All charts share one scale, in powers of two, so that they can be compared.
    most = next((power for power in range(1, 12) if all(value <= 2**power for value in values)), 12)
    least = -1 if any(value < 1 for value in values) else 0

    def across(value):
        return BARS * (log2(min(max(value, 2**least), 2**most)) - least) / (most - least)

    subjects = [name for name in STYLE if any(name in result for _, result in charts)]
    height = HEAD + ROW * len(subjects) + FOOT
    rows = -(-len(shown) // COLUMNS)
    size = (2 * MARGIN + COLUMNS * WIDTH, TOP + rows * height + MARGIN)
    parts = [head(*size), legend(subjects)]
    for number, (title, result, some) in enumerate(shown):
        x, y = MARGIN + number % COLUMNS * WIDTH, TOP + number // COLUMNS * height
        parts.append(f'<g transform="translate({x} {y})">')
        parts.extend(chart(title, result, some, subjects, across, range(least, most + 1)))
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def multiples(result):
    """Return the multiple of plain sshd's time, memory or CPU time that each subject takes."""
    plain = result["plain"]
    if plain["median"] <= 0:
        return {}
    times = {name: one["median"] / plain["median"] for name, one in result.items() if name in STYLE}
    if more_is_better(plain["unit"]):
        times = {name: 1 / value if value > 0 else 0 for name, value in times.items()}
    return times


def chart(title, result, some, subjects, across, powers):
    bottom = HEAD + ROW * len(subjects)
    plain = result["plain"]
    yield f'<text class="title" y="14">{escape(title)}</text>'
    yield (
        f'<text class="quiet end" x="{BARS + FIGURES}" y="14">'
        f'plain {figure(plain["median"])} {plain["unit"]}</text>'
    )
    for power in powers:
        x = across(2**power)
        if power % 2 == 0:
            kind = "one" if power == 0 else "line"
            yield f'<path class="{kind}" d="M{x:.1f} {HEAD - 4}V{bottom}"/>'
            yield f'<text class="scale" x="{x:.1f}" y="{bottom + 11}">{2**power}×</text>'
    for row, name in enumerate(subjects):
        if not some.get(name, 0) > 0:
            continue
        y = HEAD + ROW * row
        start, end = sorted((across(1), across(some[name])))
        # A subject as fast as plain still gets a visible bar.
        width = max(end - start, 2)
        yield (
            f'<rect x="{start:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 4}" '
            f'fill="{STYLE[name][1]}"/>'
        )
        yield (
            f'<text class="figure end" x="{BARS + FIGURES}" y="{y + ROW - 5}">'
            f'<tspan class="strong">{times(some[name])}</tspan>  '
            f'{figure(result[name]["median"])} {result[name]["unit"]}</text>'
        )


def times(value):
    return f"{value:.2f}×" if value < 10 else f"{value:.0f}×"


def legend(subjects):
    x = MARGIN
    entries = []
    for name in subjects:
        title, colour = STYLE[name]
        entries.append(f'<rect x="{x}" y="34" width="11" height="11" fill="{colour}"/>')
        entries.append(f'<text x="{x + 16}" y="44">{title}</text>')
        x += 34 + 7 * len(title)
    return "\n".join(entries)


def head(width, height):
    # No background, so that it works on white and on black. Viewers that know the reader's colour
    # scheme get more contrast; the others get a grey that is legible on both.
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" role="img"
 width="{width}" height="{height}" viewBox="0 0 {width} {height}">
<title>sshbox and alternatives compared with plain sshd</title>
<style>
text {{ font: 12px system-ui, sans-serif; fill: #7d8590; }}
.title {{ font-weight: 600; }}
.strong {{ font-weight: 600; }}
.quiet, .figure {{ font-size: 11px; }}
.scale {{ font-size: 9px; text-anchor: middle; }}
.end {{ text-anchor: end; }}
.line {{ stroke: #7d8590; stroke-opacity: .25; }}
.one {{ stroke: #7d8590; }}
@media (prefers-color-scheme: light) {{ text {{ fill: #424a53; }} }}
@media (prefers-color-scheme: dark) {{ text {{ fill: #c9d1d9; }} }}
</style>
<text class="title" x="{MARGIN}" y="20">{HEADLINE}</text>"""
