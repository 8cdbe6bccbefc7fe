#!/usr/bin/python3
"""Draws what `simulate table` printed: plot.py < table > docs/gossip.svg."""
import math
import sys

WIDTH, HEIGHT, LEFT, TOP, PLOT_W, PLOT_H = 860, 330, 60, 44, 330, 230
PANELS = (
    ("seconds until all know, 1 % loss", (("join all", "a join: usable", "#2a6fb0"), ("crash", "a crash: median", "#c0392b"),
                                          ("crash p95", "a crash: 95th percentile", "#e39b8f"))),
    ("kB a node and second, sent, with all headers", (("bytes", "idle, no loss", "#2a6fb0"),
                                                      ("25 % loss", "idle, 25 % loss", "#c0392b"))),
)


def read(lines):
    """The rows of the table as {column: number}; columns are as wide as simulate prints them."""
    head, *rows = [line.rstrip("\n") for line in lines if line.strip()]
    edges = [(0, 5)] + [(6 + 10 * index - 1, 15 + 10 * index) for index in range((len(head) - 5) // 10)]
    names = [head[a:b].strip() for a, b in edges]
    return [dict(zip(names, (float(row[a:b]) for a, b in edges))) for row in rows]


def panel(out, rows, number, title, lines):
    """One diagram: nodes on a logarithmic axis, values from 0 up."""
    x0, y0 = LEFT + number * (PLOT_W + 90), TOP
    scale = 1000 if title.startswith("kB") else 1
    most = max(row[column] for row in rows for column, _, _ in lines) / scale
    step = 10 ** math.floor(math.log10(most))
    step = next(step * factor for factor in (0.2, 0.5, 1, 2) if most / (step * factor) <= 7)
    top = math.ceil(most / step) * step
    low, high = math.log10(rows[0]["nodes"]), math.log10(rows[-1]["nodes"])

    def at_x(nodes):
        return x0 + PLOT_W * (math.log10(nodes) - low) / (high - low)

    def at_y(value):
        return y0 + PLOT_H * (1 - value / top)

    out.append(f'<text x="{x0}" y="{y0 - 18}" class="title">{title}</text>')
    for index in range(round(top / step) + 1):
        y = at_y(index * step)
        out.append(f'<line x1="{x0}" y1="{y:.1f}" x2="{x0 + PLOT_W}" y2="{y:.1f}" class="grid"/>')
        out.append(f'<text x="{x0 - 8}" y="{y + 4:.1f}" text-anchor="end">{index * step:g}</text>')
    for row in rows:
        out.append(f'<text x="{at_x(row["nodes"]):.1f}" y="{y0 + PLOT_H + 18}" text-anchor="middle">{row["nodes"]:g}</text>')
    out.append(f'<text x="{x0 + PLOT_W}" y="{y0 + PLOT_H + 36}" text-anchor="end">nodes</text>')
    for index, (column, label, colour) in enumerate(lines):
        points = [(at_x(row["nodes"]), at_y(row[column] / scale)) for row in rows]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out.extend(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points)
        out.append(f'<text x="{x0 + 12}" y="{y0 + 14 + 16 * index}" fill="{colour}">{label}</text>')


def main():
    rows = read(sys.stdin)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
           "<style>.grid{stroke:#ddd}.title{font-size:14px;font-weight:bold}</style>",
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for number, (title, lines) in enumerate(PANELS):
        panel(out, rows, number, title, lines)
    print("\n".join(out + ["</svg>"]))


if __name__ == "__main__":
    main()
