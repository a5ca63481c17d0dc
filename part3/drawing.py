"""Figures of information that spreads over a graph: one panel per update, the nodes coloured as it reaches them.

    python -m part3.gcn --edition 2020 --figure runs/gcn_2020

Q3.2 b at a glance. Column k holds the nodes that update k reaches, except in the fixed layout of A to F.
"""
import numpy as np

from part1 import style
from part3.graph import breadth_first

# C on the left and E on the right, and no edge of either edition crosses another.
POSITIONS = {"C": (0, 0.5), "B": (1, 1), "D": (1, 0), "A": (2, 1), "F": (2, 0), "E": (3, 0.5)}


def positions(graph, source):
    """Where to draw each node, (N, 2): the exercise's nodes in a fixed layout; others in columns by their distance from
    the node at the position `source` (the last column: no path), children in the order of their parents."""
    if set(graph.names) <= set(POSITIONS):
        return np.array([POSITIONS[name] for name in graph.names], dtype=float)
    distance, parent = breadth_first(graph, source)
    column = np.where(distance < 0, distance.max() + 1, distance)
    x = np.column_stack((column, np.zeros(len(column)))).astype(float)
    for k in range(1, column.max() + 1):
        nodes = np.flatnonzero(column == k)
        nodes = nodes[np.argsort(x[parent[nodes], 1], kind="stable")]
        x[nodes, 1] = np.linspace(-1, 1, len(nodes) + 2)[1:-1]
        x[nodes, 0] += 0.4 * (0.618 * np.arange(len(nodes)) % 1)  # so that edges within a column hide behind no node
    return x


def draw_update(axes, graph, x, size, distance, update, target):
    """One panel: nodes of `size` points, coloured when reached; the edges that this update used, thick."""
    i, j = graph.rows, graph.indices
    carries = (distance[i] == update - 1) & (distance[j] == update) & (update > 0)
    for edges, looks in ((i < j, {"color": style.GREY, "linewidth": 1, "zorder": 1}),
                         (carries, {"color": style.VERMILION, "linewidth": 1 + size / 12, "zorder": 2})):
        axes.plot(*x[np.stack((i[edges], j[edges]))].transpose(2, 0, 1), **looks)
    for node, (name, at) in enumerate(zip(graph.names, x)):
        fill = "white" if not 0 <= distance[node] <= update else style.ORANGE if distance[node] == update else style.SKY
        axes.plot(*at, "o", markersize=size, markerfacecolor=fill, markeredgecolor="black", zorder=3, clip_on=False,
                  markeredgewidth=size / 7 if node == target else size / 19)
        label = str(name)[:6]
        axes.text(*at, label, ha="center", va="center_baseline", zorder=4, parse_math=False,
                  fontsize=size * min(0.6, 1.1 / len(label)))
    axes.set_title(f"update {update}")


def draw_updates(graph, distance, updates, target, path):
    """Draw `Neighbours` after each of `updates`, given every node's `distance` (N,) from the source, as `path`.pdf and
    .png, with a ring around the node named `target`. Returns the PNG's path."""
    x = positions(graph, int(np.flatnonzero(distance == 0)[0]))
    columns = 2 if len(updates) in (1, 2, 4) else 3
    rows = -(-len(updates) // columns)
    figure, panels = style.plt.subplots(rows, columns, squeeze=False,
                                        figsize=(style.WIDTH, 0.3 + rows * (1.4 if len(x) <= 12 else 2.2)))
    for axes in panels.flat:
        axes.axis("off")
        axes.margins(0.12)
    for axes, update in zip(panels.flat, updates):
        draw_update(axes, graph, x, np.clip(200 / len(x), 5, 15), distance, update, graph.index(target))
    key = [("reached by this update", style.ORANGE, 0.8), ("reached before", style.SKY, 0.8),
           ("not reached", "white", 0.8), ("the target", "white", 2)]
    marks = [style.plt.Line2D([], [], linestyle="", marker="o", markersize=7, markerfacecolor=color, label=label,
                              markeredgecolor="black", markeredgewidth=width) for label, color, width in key]
    figure.legend(handles=marks, loc="outside lower center", ncols=4, handletextpad=0.2, columnspacing=1.2)
    return style.save(figure, path)
