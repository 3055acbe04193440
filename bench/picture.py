#!/usr/bin/env python3
"""bench/picture.py: draws docs/speed.svg from the table of engines in docs/BENCHMARKS.md.

A row of bars for each model: the processor time of a run in each engine, where the fastest of the others is 1. With
--check it writes nothing, and its exit status says whether the picture is that of the table.
"""
import pathlib
import re
import sys

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
ENGINES = ("Oar", "ONNX Runtime", "OpenVINO", "Paddle Inference")
COLOURS = ("#0b7285", "#adb5bd", "#868e96", "#ced4da")
LEFT, WIDTH, BAR, ROW, TOP, UNIT = 190, 860, 9, 50, 46, 235
CUT = 2.6  # of the fastest other; longer bars say their number


def rows():
    """(model, [ms or None for each engine]) of those models that more than one other engine reads."""
    text = (DOCS / "BENCHMARKS.md").read_text()
    table = text.split("| model | Oar | ONNX Runtime | OpenVINO | Paddle Inference |", 1)[1]
    for line in table.splitlines()[2:]:
        cells = [c.strip() for c in line.strip("|").split("|")]
        if not line.startswith("|") or not re.match(r"[\d.]+$", cells[1]):
            return
        yield cells[0], [float(c) if c != "-" else None for c in cells[1:5]]


def bar(x, y, width, colour, words):
    return (f'<rect x="{x}" y="{y:.1f}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>'
            f'<text x="{x + width + 5:.1f}" y="{y + BAR - 1:.1f}" class="n">{words}</text>')


def model(name, times, y):
    best = min(t for t in times[1:] if t is not None)
    parts = [f'<text x="{LEFT - 10}" y="{y + 24}" text-anchor="end">{name}</text>']
    there = [(t, c) for t, c in zip(times, COLOURS) if t is not None]
    for i, (t, colour) in enumerate(there):
        words = f"{t / best:.2f}" + (" (cut)" if t / best > CUT else "")
        parts.append(bar(LEFT, y + i * (BAR + 1.5), UNIT * min(t / best, CUT), colour, words))
    return "".join(parts)


def legend():
    x, parts = LEFT, []
    for name, colour in zip(ENGINES, COLOURS):
        parts.append(f'<rect x="{x}" y="14" width="11" height="11" fill="{colour}"/><text x="{x + 16}" y="24">{name}</text>')
        x += 40 + 8 * len(name)
    return "".join(parts)


def picture():
    drawn = list(rows())
    height = TOP + ROW * len(drawn) + 22
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
             'font-family="sans-serif" font-size="13">',
             "<style>.n{font-size:9px;fill:#495057}</style>",
             f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>', legend()]
    lines += [model(name, times, TOP + ROW * i) for i, (name, times) in enumerate(drawn)]
    lines.append(f'<line x1="{LEFT + UNIT}" x2="{LEFT + UNIT}" y1="{TOP - 8}" y2="{height - 22}" stroke="#e03131" stroke-dasharray="3 3"/>')
    lines.append(f'<text x="{LEFT}" y="{height - 6}" class="n">processor time of a run, one thread, fp32; 1 (the line) is the fastest of the '
                 "others; shorter is faster; docs/BENCHMARKS.md</text></svg>")
    return "\n".join(lines) + "\n"


def main():
    file = DOCS / "speed.svg"
    if sys.argv[1:] == ["--check"]:
        return 0 if file.is_file() and file.read_text() == picture() else f"{file.name} is not that of the table: run bench/picture.py"
    file.write_text(picture())
    return 0


if __name__ == "__main__":
    sys.exit(main())
