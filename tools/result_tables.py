"""The tables of measured numbers in the README and the documentation, from the files in benchmarks/results.

A page says where a table stands by two comments, `<!-- begin: NAME -->` and `<!-- end: NAME -->`, with a name of
`TABLES`; what stands between them is made again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

Results = Mapping[str, Any]


def with_tables(page: str, results: Path) -> str:
    """The page with each of its tables made again from the results; one that was never measured is left alone."""
    for name, (file, table) in TABLES.items():
        begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
        if begin in page and (results / file).exists():
            text = table(json.loads((results / file).read_text(encoding="utf-8")))
            made = f"{begin}\n{text}\n{end}"
            page = re.sub(f"{begin}.*{end}", lambda _, made=made: made, page, flags=re.S)  # type: ignore[misc]
    return page


CHOSEN_ON = ("mvtec_bottle", "mvtec_pill", "kolektorsdd", "magnetic_tile")
"""Data sets that settings of the default detector were compared on; all others are unseen."""


def default_results(results: Results) -> str:
    """What a user meets first: wrong verdicts beside the ranking, unseen data marked."""
    return table(
        "data, good parts rejected, defects that escaped, image AUROC, AUPRO(0.3), training, a verdict",
        [
            (
                row["name"] + ("" if row["name"] in CHOSEN_ON else " (unseen)"),
                counted(row["false_reject_rate"], row["num_good"]),
                counted(row["escape_rate"], row["num_defective"]),
                f"{row['image_auroc']:.3f}",
                "-" if row.get("aupro_30") is None else f"{row['aupro_30']:.3f}",
                f"{row['fit_seconds']:.0f} s",
                f"{row['milliseconds']:.0f} ms",
            )
            for row in results["rows"]
            if row.get("preset", "balanced") == "balanced"
        ],
        f"Unseen data sets had no part in choosing settings. {measured(results)}",
    )


def counted(share: float, count: int) -> str:
    return f"{percent(share)} ({round(share * count)} of {count})"


def presets(results: Results) -> str:
    rows = [row for row in results["rows"] if "preset" in row]
    if not rows:
        return "Time, memory and size of each preset are not measured yet."
    return table(
        "preset, data, input, image AUROC, pixel AP, AUPRO(0.3), fit and calibration, memory, bundle, a verdict, "
        "with the best engine",
        [
            (
                *(f"`{row['preset']}`", row["name"], " x ".join(map(str, row["input_hw"]))),
                *(f"{row[name]:.3f}" for name in ("image_auroc", "pixel_ap", "aupro_30")),
                f"{row['fit_seconds']:.0f} s",
                "-" if row["peak_memory_mb"] is None else f"{row['peak_memory_mb']:.0f} MB",
                f"{row['bundle_bytes'] / 1e6:.1f} MB",
                f"{row['milliseconds']:.1f} ms",
                f"{row['milliseconds_best']:.1f} ms ({row['best_engine']})",
            )
            for row in rows
        ],
        f"Measured {results['date']} at commit {results['commit']} on {results['machine']}.",
    )


def simulated_promises(order: str) -> Callable[[Results], str]:
    """A table of one order of the good parts: what each way of calibrating promises, and what comes out."""
    methods = {"cross": "`cross`", "blocks": "`blocks`", "split": "`split`"}

    def make(results: Results) -> str:
        rows: dict[int, dict[str, Any]] = {}
        for row in results["rows"]:
            if row["order"] == order:
                rows.setdefault(row["num_good"], {})[row["method"]] = row
        columns = ", ".join(f"{name}: on average, measured, over the limit, found" for name in methods.values())
        return table(
            f"good images, {columns}",
            [
                (
                    str(num_good),
                    *(
                        percent(row[method][key])
                        for method in methods
                        for key in ("average", "mean_rate", "failed", "found")
                    ),
                )
                for num_good, row in rows.items()
            ],
            f"{results['plants']} plants for each row, measured {results['date']}.",
        )

    return make


def promises(results: Results) -> str:
    return table(
        "data, detector, method, good images (parts), on average at most, 95 % limit, rejected, chance, escapes, "
        "escapes at 5 % of the good test images, drift watch",
        [
            (
                *(row["data"], row["detector"], row["method"]),
                f"{row['good']} ({row['parts']})" if row["parts"] < row["good"] else str(row["good"]),
                *(percent(row["average"]), percent(row["limit"])),
                f"{row['rejected']} of {row['test_good']}",
                f"{row['chance']:.2g}",
                *(percent(row["escape_rate"]), percent(row["escapes_at_5"]), row["drift"]),
            )
            for row in results["rows"]
        ],
        f"Measured {results['date']} at commit {results['commit']} on {results['machine']}.",
    )


def drift(results: Results) -> str:
    rows = results["rows"]
    changes = list(dict.fromkeys(row["change"] for row in rows))
    found = {(row["data"], row["change"]): row for row in rows}

    def told(row: Mapping[str, Any]) -> str:
        return f"no alarm in {row['changed']}" if row["median"] is None else f"{row['median']:g}"

    return table(
        ", ".join(["data", *("unchanged" if change == "none" else change for change in changes)]),
        [
            (data, *(told(found[data, change]) for change in changes))
            for data in dict.fromkeys(row["data"] for row in rows)
        ],
        f"Measured {results['date']} at commit {results['commit']} by `benchmarks/drift_on_data.py`.",
    )


def learned(results: Results) -> str:
    dates = sorted({row["date"] for row in results["rows"]})
    return table(
        "data, detector, size, image AUROC (95 %), AUPRO(0.3), pixel AUROC, balanced accuracy, MSE and PSNR, "
        "parameters, epochs",
        [
            (
                row["data"],
                f"`{row['run']}`",
                f"{row['size']} px",
                f"{row['image_auroc']:.3f} [{', '.join(f'{limit:.3f}' for limit in row['image_auroc_interval'])}]",
                *(f"{row[name]:.3f}" for name in ("aupro_30", "pixel_auroc", "balanced_accuracy")),
                f"{row['mse']:.4f}, {row['psnr']:.1f} dB" if "mse" in row else "-",
                f"{row['num_parameters'] / 1e6:.2f} M" if row.get("num_parameters") else "-",
                str(row["epochs"]),
            )
            for row in sorted(results["rows"], key=lambda row: (row["data"], -row["image_auroc"]))
        ],
        f"Measured {' to '.join(dict.fromkeys((dates[0], dates[-1])))} on {results['machine']}; "
        "the commit of each row stands in the results file.",
    )


def variants(results: Results) -> str:
    rows = [row for row in results["rows"] if row["part"] == "variants"]
    data = list(dict.fromkeys(row["data"] for row in rows))
    found = {(row["run"], row["data"]): row for row in rows}

    def cell(run: str, name: str) -> str:
        row = found.get((run, name))
        if row is None:
            return "-"
        outlined = f" ({row['aupro_30']:.3f})" if "aupro_30" in row else ""
        return f"{row['halves']:.3f} / {row['image_auroc']:.3f}{outlined}"

    return table(
        ", ".join(["variant", *data]),
        [(run, *(cell(run, name) for name in data)) for run in dict.fromkeys(row["run"] for row in rows)],
        "In each cell: halves / test image AUROC (test AUPRO at half the input's size, where there are masks). "
        f"Measured {results['date']} on {results['machine']}; the commit of each row stands in the results file.",
    )


def few_images(results: Results) -> str:
    rows = [row for row in results["rows"] if row["part"] == "few"]
    return table(
        "data, good images, image AUROC, the least of three, with symmetries, the least of three",
        [
            (
                row["data"],
                str(row["run"]),
                *(
                    f"{row[name]:.3f}"
                    for name in ("image_auroc", "image_auroc_least", "with_symmetries", "with_symmetries_least")
                ),
            )
            for row in rows
        ],
        f"Measured {results['date']} on {results['machine']}.",
    )


def noisy_images(results: Results) -> str:
    rows = [row for row in results["rows"] if row["part"] == "noise"]
    return table(
        "data, defective share, added, image AUROC without them, with them, named, good images named, named taken out",
        [
            (
                row["data"],
                percent(row["run"]),
                str(row["added"]),
                *(f"{row[name]:.3f}" for name in ("clean", "image_auroc")),
                *(str(row[name]) for name in ("named", "named_good")),
                f"{row['without_named']:.3f}",
            )
            for row in rows
        ],
        f"Measured {results['date']} on {results['machine']}.",
    )


def speed_of_bundles(results: Results) -> str:
    return table(
        "data, engine, cold start, p50, p90, p99, images/s, memory",
        [
            (
                bundle["name"],
                row["engine"],
                f"{row['cold_start_seconds']:.2f} s",
                *(f"{row[name]:.1f} ms" for name in ("p50_ms", "p90_ms", "p99_ms")),
                f"{row['images_per_second']:.0f}",
                "-" if row["peak_memory_mb"] is None else f"{row['peak_memory_mb']:.0f} MB",
            )
            for bundle in results["bundles"]
            for row in bundle["engines"]
        ],
        measured(results),
    )


def speed_of_banks(results: Results) -> str:
    return table(
        "entries in each bank, engine, graph, bare backbone, ratio",
        [
            (
                f"{row['bank_size']:,}",
                row["engine"],
                f"{row['milliseconds']:.1f} ms",
                f"{row['bare_backbone']:.1f} ms",
                f"{row['ratio']:.2f}",
            )
            for row in results["banks"]
        ],
        measured(results),
    )


def speed_of_int8(results: Results) -> str:
    return table(
        "data, engine, f32, int8, times faster, changed verdicts, image AUROC f32, int8, `blemish quantize`",
        [
            (
                bundle["name"],
                row["engine"],
                *(f"{row[name]:.1f} ms" for name in ("milliseconds_f32", "milliseconds_int8")),
                f"{row['times_faster']:.2f}",
                f"{row['changed_verdicts']} of {bundle['int8']['num_test']}",
                *(f"{row[name]:.4f}" for name in ("image_auroc_f32", "image_auroc_int8")),
                "accepts it" if bundle["int8"]["quantize"] == "accepted" else "keeps f32",
            )
            for bundle in results["bundles"]
            for row in bundle["int8"]["rows"]
        ],
        measured(results),
    )


def large_images(results: Results) -> str:
    images = [row for name, row in results.items() if name.startswith("image_")]
    kinds = {"verdicts_and_overlays": "with overlays and tables", "verdicts": "verdicts alone"}
    note = "; ".join(
        f"{name}: {results['folder'][kind]['ratio']:.2f} times as many images per second in a folder as one by one"
        for kind, name in kinds.items()
    )
    return table(
        "image, tiles, reading, verdict, overlay, peak memory",
        [
            (
                f"{row['image_hw'][1]:,} x {row['image_hw'][0]:,}".replace(",", " "),
                f"{row['num_tiles']} of {row['tile_px']} pixels at {row['input_px']}",
                *(f"{row[name]:.1f} s" for name in ("decode_seconds", "seconds", "overlay_seconds")),
                f"{row['peak_memory_mb_with_overlay']:,.0f} MB",
            )
            for row in images
        ],
        f"A folder of {results['folder']['num_images']} images, {note}. {measured(results)}",
    )


def fits_of_many(results: Results) -> str:
    return table(
        "detector, images, learned from, calibrated with, training, longest parts, peak memory",
        [
            (
                row["detector"],
                *(f"{count:,}" for count in (results["data"]["num_images"], row["num_fit"], row["num_calibration"])),
                f"{row['fit_seconds']:.0f} s",
                "; ".join(
                    f"{name} {seconds:.0f} s"
                    for name, seconds in sorted(row["seconds_by_part"].items(), key=lambda part: -part[1])[:3]
                ),
                f"{row['peak_memory_mb']:,.0f} MB",
            )
            for row in results["detectors"]
        ],
        measured(results),
    )


def scaling(results: Results) -> str:
    return table(
        "run, cores, images, seconds, images/s, five million images",
        [
            (
                row["run"],
                str(row["workers"]),
                f"{row['num_images']:,}",
                f"{row['seconds']:.0f} s",
                f"{row['images_per_second']:.1f}",
                f"{row['core_hours_5_million']:.0f} core hours",
            )
            for row in results["rows"]
        ],
        f"Two workers take {percent(results['overhead'])} longer than plain inspection on the same cores, start of the "
        "workers included, and are "
        f"{results['speedup_of_two']:.2f} times as fast as one. {measured(results)}",
    )


def beside_anomalib(results: Results) -> str:
    """Rows that compare like with like; what was extrapolated says so in its cell."""

    def row(figure: str, theirs: float, ours: float, unit: str, note: str = "") -> tuple[str, ...]:
        return (figure, f"{theirs:,.4g}{unit}{note}", f"{ours:,.4g}{unit}", f"{theirs / ours:.3g}" if ours else "-")

    sizes = results["size"]
    rows = [row("installed", sizes["anomalib"]["mb"], sizes["blemish"]["mb"], " MB")]
    first = results.get("first_verdict_seconds")
    if first:
        rows.append(row("from program start to the first verdict", first["anomalib"], first["blemish"], " s"))
    for entry in results["detectors"]:
        name, theirs, ours = entry["detector"], entry["anomalib"], entry["blemish"]
        exact, latency = theirs.get("fit_seconds_exact_selection"), entry["milliseconds"]
        note = " (extrapolated from its first entries)" if exact else ""
        rows.append(row(f"{name}: fit", theirs["fit_seconds"], ours["fit_seconds"], " s", note))
        if exact:
            rows.append(row(f"{name}: fit, same exact selection on both sides", exact, ours["fit_seconds"], " s"))
        rows.append(row(f"{name}: memory of the fit", theirs["peak_memory_mb"], ours["peak_memory_mb"], " MB"))
        if "openvino-bf16" in latency:
            figure = f"{name}: one image, OpenVINO in bf16"
            rows.append(row(figure, latency["anomalib"], latency["openvino-bf16"], " ms"))
        rows.append((f"{name}: image AUROC", *(f"{entry['image_auroc'][side]:.4f}" for side in SIDES), "-"))
    note = f"{results['data']}, {results['num_fit']} training images, {results['bank_entries']:,} bank entries."
    return table("figure, anomalib 2.7.0, blemish, times less", rows, f"{note} {measured(results)}")


def painted_and_real(results: Results) -> str:
    """Real defects by size beside what painted ones of the same size and shape predict."""
    rows = [
        (
            row["data"] if number == 0 else "",
            f"{entry['low_px']} to {entry['high_px']} px" if entry["high_px"] else f"from {entry['low_px']} px",
            str(entry["num_real"]),
            percent(entry["num_found"] / entry["num_real"]),
            " to ".join(percent(limit) for limit in entry["limits"]),
            *(percent(share) for share in entry["painted"].values()),
        )
        for row in results["rows"]
        for number, entry in enumerate(row["bins"])
    ]
    head = "data, largest defect, images, real found, its 95 % limits, painted faint, painted clear, painted strong"
    return table(head, rows, measured(results))


def painted_shares(results: Results) -> str:
    rows = [
        (
            row["data"],
            " x ".join(map(str, row["input_hw"])),
            percent(row["share_found"]),
            percent(row["share_found_new"]),
            str(row["log_likelihoods"]["strength"]),
            str(row["log_likelihoods"]["gray levels"]),
            str(row["num_painted"]),
            f"{row['cpu_seconds']:.1f} s",
        )
        for row in results["rows"]
    ]
    head = (
        "data, input, found on training images, found on new good images, log-likelihood by strength, by gray levels, "
        "painted, processor time"
    )
    return table(head, rows, measured(results))


SIDES = ("anomalib", "blemish")


def measured(results: Results) -> str:
    return f"Measured {results['date']} at commit {results['commit']} on {results['machine']}."


def kills(results: Results) -> str:
    return table(
        "command, kills, met it at work, half written, lost",
        [
            (f"`{name}`", *(str(row[fact]) for fact in ("kills", "at_work", "half_written", "lost")))
            for name, row in results["commands"].items()
        ],
        f"Measured {results['date']} at commit {results['commit']} by `benchmarks/kills.py`.",
    )


def table(head: str, rows: Sequence[Sequence[str]], measured: str) -> str:
    """A Markdown table and the line that says where its numbers come from."""
    names = head.split(", ")
    lines = (names, ["---"] * len(names), *rows)
    return "\n".join([*(f"| {' | '.join(cells)} |" for cells in lines), "", measured])


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"


TABLES: Mapping[str, tuple[str, Callable[[Results], str]]] = MappingProxyType(
    {
        "results": ("accuracy_default.json", default_results),
        "presets": ("accuracy_default.json", presets),
        "promises": ("promise_on_data.json", promises),
        "simulated promises": ("promise_simulation.json", simulated_promises("mixed")),
        "simulated promises in batches": ("promise_simulation.json", simulated_promises("batches")),
        "simulated promises with one kind apart": ("promise_simulation.json", simulated_promises("one kind")),
        "simulated promises with several images of a part": (
            "promise_simulation.json",
            simulated_promises("several images"),
        ),
        "drift": ("drift_on_data.json", drift),
        "learned": ("learned.json", learned),
        "variants": ("accuracy.json", variants),
        "few images": ("accuracy.json", few_images),
        "noise": ("accuracy.json", noisy_images),
        "speed of bundles": ("speed.json", speed_of_bundles),
        "speed of banks": ("speed.json", speed_of_banks),
        "speed of int8": ("speed.json", speed_of_int8),
        "large images": ("large_images.json", large_images),
        "kills": ("kills.json", kills),
        "fits of many": ("fit_memory.json", fits_of_many),
        "painted and real": ("sensitivity_on_data.json", painted_and_real),
        "painted": ("sensitivity_on_data.json", painted_shares),
        "scaling": ("scaling.json", scaling),
        "beside anomalib": ("vs_anomalib.json", beside_anomalib),
    }
)
"""The name of a table, the results file it is made from, and how."""
