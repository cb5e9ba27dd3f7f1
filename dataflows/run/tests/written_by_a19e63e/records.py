#!/usr/bin/env python3
"""Writes the input of the samples: files of events and facts, the same bytes each time.

    records.py FOLDER BEGIN_MS

Two tenants, an hour and a half of their time. In it are disorder, late events, duplicates within and across partitions,
conflicts, broken lines, exposures before and after what they cover, facts with sequences from several sources with gaps and
repetitions, counts with windows, snapshots, corrections, voids, and facts that come long after their time.
"""

import json
import pathlib
import random
import sys

BEGIN_MS = int(sys.argv[2])
HOUR_MS = 3_600_000


def line(record):
    return json.dumps(record, separators=(",", ":"))


def events(tenant, source, files, lines_per_file, seed, shared):
    """Events of one source, in the order in which they are read; `shared` are some that another source has, too."""
    random_of = random.Random(seed)
    step_ms = HOUR_MS * 3 // 2 // (files * lines_per_file)
    lines = []
    for number in range(files * lines_per_file):
        at_ms = BEGIN_MS + number * step_ms
        kind = random_of.choices(
            ["view", "click", "add_to_cart", "purchase", "return", "exposure"], [8, 5, 3, 3, 1, 3]
        )[0]
        record = {"tenant": tenant, "id": f"{source}-{number}"}
        visit = number // 12
        record["session"] = f"{source}-s{visit - random_of.randrange(3)}"
        if random_of.random() < 0.9:
            record["unit"] = f"household-{random_of.randrange(40)}"
        record["kind"] = kind
        late_ms = random_of.choice([0, 0, 0, 2_000, 9_000, 40_000])
        if random_of.random() < 0.02:
            late_ms = 6 * 60_000
        record["event_time_ms"] = at_ms - late_ms
        if kind == "purchase":
            record |= {"value": random_of.randrange(100, 9_000), "quantity": random_of.randrange(1, 4)}
        if kind == "return":
            record |= {"value": -random_of.randrange(100, 4_000), "quantity": -1}
        if kind in ("click", "add_to_cart", "purchase"):
            record["item"] = f"sku-{random_of.randrange(12)}"
        if kind == "exposure":
            record["attributes"] = {"experiment": "banner", "mobile": random_of.random() < 0.5}
        lines.append(line(record))
        if number % 50 == 17:
            lines.append(lines[-1])
        if number % 60 == 23:
            lines.append(line({**record, "session": "another"}))
        if number % 70 == 31:
            lines.append(lines[-1][: len(lines[-1]) // 2])
        if number % 90 == 41:
            lines.append(line({**record, "id": f"{source}-wrong-{number}", "kind": "glance"}))
        if number % 40 == 9:
            shared.append(record)
        said_before = [other for other in shared if other["event_time_ms"] <= at_ms and other["id"] != record["id"]]
        if number % 40 == 29 and said_before:
            lines.append(line(said_before[-1]))
        if number == 77:
            lines.append(line({**record, "id": f"{source}-far", "event_time_ms": 4_102_444_800_000}))
    return lines


def facts(tenant, feeds, count, seed):
    """Facts of several feeds: (source, has a sequence)."""
    random_of = random.Random(seed)
    step_ms = HOUR_MS * 3 // 2 // count
    nodes, skus = ["n-1", "n-2"], [f"sku-{number}" for number in range(12)]
    sequences, epochs, said, lines = {}, {}, [], []
    for number in range(count):
        at_ms = BEGIN_MS + number * step_ms
        source, is_sequenced = feeds[number % len(feeds)]
        record = {
            "tenant": tenant,
            "id": f"{source}-{number}",
            "kind": "sale",
            "node": random_of.choice(nodes),
            "sku": random_of.choice(skus),
            "quantity": random_of.randrange(1, 5),
            "event_time_ms": at_ms - random_of.choice([0, 0, 1_000, 20_000]),
            "source": source,
        }
        draw = random_of.random()
        if source == "wms":
            record |= {"kind": random_of.choice(["receipt", "receipt", "snapshot", "transfer_out"]), "quantity": random_of.randrange(1, 40)}
        elif source == "handheld" or draw < 0.08:
            record |= {"kind": random_of.choice(["count", "adjust", "shelf_observation"]), "quantity": random_of.randrange(0, 30)}
            if record["kind"] == "count":
                record["observed_from_ms"] = record["event_time_ms"] - 30_000
                record["state"] = random_of.choice(["sellable", "sellable", "backroom"])
        elif draw < 0.16:
            record |= {"kind": "state_move", "state": "backroom", "to_state": "sellable"}
        elif draw < 0.22:
            record |= {"kind": "return", "state": random_of.choice(["sellable", "damaged"])}
        elif draw < 0.30 and said:
            of = random_of.choice(said[-30:])
            record |= {key: of[key] for key in ("node", "sku", "kind") } | {"event_time_ms": of["event_time_ms"]}
            record["corrects"] = {key: of[key] for key in ("id", "kind", "quantity", "event_time_ms")}
            if draw < 0.25:
                record |= {"quantity": 0, "void": True}
            if "state" in of:
                record["state"] = of["state"]
        elif draw < 0.33:
            record["event_time_ms"] = max(BEGIN_MS, at_ms - 40 * 60_000)
        elif draw < 0.36:
            record = {key: record[key] for key in ("tenant", "id", "kind", "node", "event_time_ms", "source")} | {"kind": "clock"}
        if is_sequenced:
            stream = (record["node"], source)
            if number == count * 2 // 3:
                epochs[stream] = 2
                sequences[stream] = 0
            sequence = sequences.get(stream, 0)
            if random_of.random() < 0.06:
                sequence += random_of.randrange(1, 4)
            sequences[stream] = sequence + 1
            record |= {"epoch": epochs.get(stream, 1), "sequence": sequence}
        if record["kind"] in ("sale", "count") and "corrects" not in record:
            said.append(record)
        lines.append(line(record))
        if number % 45 == 13:
            lines.append(lines[-1])
        if number % 80 == 37:
            lines.append(lines[-1].replace(",", ",,", 1))
        if number % 75 == 44:
            lines.append(line({**record, "id": record["id"] + "-odd", "quantity": -3, "kind": "sale"}))
    return lines


def write(folder, name, lines, files):
    per_file = -(-len(lines) // files)
    for number in range(files):
        part = lines[number * per_file : (number + 1) * per_file]
        text = "".join(each + "\n" for each in part)
        (folder / f"{name}-{number:02}.ndjson").write_bytes(text.encode())


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    shared = []
    write(folder, "web", events("north", "web", 12, 35, 1, shared), 12)
    write(folder, "app", events("north", "app", 12, 25, 2, shared), 12)
    write(folder, "kiosk", events("south", "kiosk", 6, 30, 3, []), 6)
    north = [("pos", True), ("handheld", False), ("pos", True), ("kitchen", True)]
    south = [("pos", True), ("handheld", True), ("pos", True)]
    stores = [each for pair in zip(facts("north", north, 180, 4), facts("south", south, 180, 5)) for each in pair]
    write(folder, "stores", stores, 12)
    write(folder, "wms", facts("north", [("wms", True)], 90, 6), 6)


main()
