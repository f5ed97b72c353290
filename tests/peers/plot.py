"""Per cent of the limit against the number of tokens, moec's and the best peer's, on one machine:
plot.py CELLS.jsonl MACHINE PLOT.svg"""

import json
import sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "moec", "font.size": 8})
from matplotlib import pyplot  # noqa: E402


def main():
    with open(sys.argv[1]) as file:
        cells = [json.loads(line) for line in file]
    cells = [cell for cell in cells if cell["machine"] == sys.argv[2]]
    cells = [cell for cell in cells if cell["routing"] == "uniform" and cell["layer"] != "toy"]
    layers = sorted({cell["layer"] for cell in cells}, key=["mixtral4", "olmoe", "qwen3", "dsv2lite"].index)
    rows = sorted({(cell["type"], cell["threads"]) for cell in cells}, key=lambda row: (row[0] != "f32", row))
    size = (3 * max(len(layers), 1), 2.2 * max(len(rows), 1))
    figure, axes = pyplot.subplots(
        max(len(rows), 1), max(len(layers), 1), squeeze=False, sharex=True, sharey=True, figsize=size)
    for at, (types, threads) in enumerate(rows):
        for column, layer in enumerate(layers):
            axis = axes[at][column]
            of = [c for c in cells if (c["type"], c["threads"], c["layer"]) == (types, threads, layer)]
            tokens = [cell["tokens"] for cell in of]
            for name in sorted({name for cell in of for name in cell["theirs"]}):
                theirs = [(c["tokens"], c["theirs"][name]["of_limit"]) for c in of if name in c["theirs"]]
                axis.plot(*zip(*theirs), color="0.8", linewidth=0.8)
            best = [max((row["of_limit"] for row in cell["theirs"].values()), default=None) for cell in of]
            axis.plot(tokens, best, "s--", color="C1", markersize=3, label="best peer")
            axis.plot(tokens, [cell["ours"]["of_limit"] for cell in of], "o-", markersize=3, label="moec")
            axis.set_xscale("log", base=2)
            axis.set_ylim(0, 110)
            axis.set_title(f"{layer}, {types}, {threads} thread{'s' if threads > 1 else ''}")
            axis.grid(alpha=0.3)
    axes[0][0].legend(loc="lower right")
    figure.supxlabel("tokens; grey: each peer")
    figure.supylabel("per cent of the limit")
    figure.tight_layout()
    figure.savefig(sys.argv[3], metadata={"Date": None})


if __name__ == "__main__":
    main()
