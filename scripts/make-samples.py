#!/usr/bin/env python3
"""Builds the sample inputs of Aisle.

usage: make-samples.py ORIGINALS_FOLDER OUTPUT_FOLDER

ORIGINALS_FOLDER holds the two sources as zstd-compressed CSV:

    complete_journey_sample/transactions_sample.csv.zst
    complete_journey_sample/products.csv.zst
    online_retail/online_retail_2010-12_2011-08.csv.zst

OUTPUT_FOLDER receives seven .ndjson.zst files. Needs Python 3.8 or later and
the `zstd` command. The lines are the same on every run; the compressed bytes
are the same for one version of zstd. A summary of what was written goes to
standard output as JSON.
"""

import bisect
import csv
import datetime
import hashlib
import heapq
import io
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter, defaultdict
from decimal import ROUND_HALF_UP, Decimal

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY

EPOCH = datetime.datetime(1970, 1, 1)
START_DATE = datetime.datetime(2025, 1, 6)  # the common Monday
START = int((START_DATE - EPOCH).total_seconds()) * SECOND

LATENESS = 10 * MINUTE  # the lateness the generated files are planned for
LATE_BEHIND = 15 * MINUTE  # planned late lines are at least this far behind


# ---------------------------------------------------------------- in and out


def read_csv(path, first_column):
    """The rows of a compressed CSV, without the header line if it has one."""
    raw = subprocess.run(["zstd", "-dcq", path], stdout=subprocess.PIPE, check=True).stdout
    rows = list(csv.reader(io.StringIO(raw.decode("utf-8"), newline="")))
    return rows[1:] if rows and rows[0][0] == first_column else rows


def compact(record):
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def write(folder, name, lines, summary):
    """One line per record, level 19, a window of at most 8 MiB, no time stamp."""
    data = b"".join(line + b"\n" for line in lines)
    command = ["zstd", "-q", "-c", "-19", "--zstd=wlog=23", "--single-thread",
               "--stream-size=%d" % len(data)]
    packed = subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout
    with open(os.path.join(folder, name), "wb") as out:
        out.write(packed)
    summary[name]["lines"] = len(lines)
    summary[name]["bytes_plain"] = len(data)
    summary[name]["bytes_packed"] = len(packed)
    summary[name]["sha256_plain"] = hashlib.sha256(data).hexdigest()


def event(tenant, id, session, unit, kind, time, value=None, quantity=None, item=None,
          attributes=None):
    record = {"tenant": tenant, "id": id, "session": session}
    if unit:
        record["unit"] = unit
    record["kind"] = kind
    record["event_time_ms"] = time
    if value is not None:
        record["value"] = value
    if quantity is not None:
        record["quantity"] = quantity
    if item is not None:
        record["item"] = item
    if attributes:
        record["attributes"] = attributes
    return record


def fact(tenant, id, kind, node, sku, quantity, time, source, state=None, to_state=None,
         observed_from=None, epoch=None, sequence=None, corrects=None, void=False):
    record = {"tenant": tenant, "id": id, "kind": kind, "node": node}
    if sku is not None:
        record["sku"] = sku
    if state is not None:
        record["state"] = state
    if to_state is not None:
        record["to_state"] = to_state
    record["quantity"] = quantity
    record["event_time_ms"] = time
    if observed_from is not None:
        record["observed_from_ms"] = observed_from
    record["source"] = source
    if sequence is not None:
        record["epoch"] = epoch
        record["sequence"] = sequence
    if corrects is not None:
        record["corrects"] = corrects
    if void:
        record["void"] = True
    return record


def by_time(records):
    return sorted(records, key=lambda r: (r["event_time_ms"], r["id"]))


def span(records):
    times = [r["event_time_ms"] for r in records]
    return [stamp(min(times)), stamp(max(times))]


def stamp(time):
    return (EPOCH + datetime.timedelta(milliseconds=time)).isoformat(timespec="seconds") + "Z"


def kinds(records):
    return dict(sorted(Counter(r["kind"] for r in records).items()))


class Shift:
    """Moves a source by whole weeks so that its first week becomes the common one."""

    def __init__(self, texts):
        first = min(parse_time(t) for t in texts)
        monday = (first - datetime.timedelta(days=first.weekday())).replace(
            hour=0, minute=0, second=0)
        days = (START_DATE - monday).days
        assert days % 7 == 0
        self.weeks = days // 7

    def __call__(self, text):
        delta = parse_time(text) - EPOCH
        return int(delta.total_seconds()) * SECOND + self.weeks * WEEK


def parse_time(text):
    return datetime.datetime.fromisoformat(text)


def minor_units(amount):
    return int((amount * 100).to_integral_value(rounding=ROUND_HALF_UP))


# ---------------------------------------------------------- Complete Journey

FUEL_TYPE = "GASOLINE-REG UNLEADED"


def complete_journey(originals, summary):
    tenant = "complete-journey"
    folder = os.path.join(originals, "complete_journey_sample")
    rows = read_csv(os.path.join(folder, "transactions_sample.csv.zst"), "household_id")
    products = {p[0]: p for p in
                read_csv(os.path.join(folder, "products.csv.zst"), "product_id")}
    shift = Shift([r[10] for r in rows])
    notes = Counter()
    position = Counter()
    events, facts = [], []
    for household, store, basket, product, quantity, sales, *_, text in rows:
        if "e" in basket.lower():
            notes["basket_ids_in_scientific_notation"] += 1
        basket = str(int(Decimal(basket)))
        position[basket] += 1
        id = "%s-%d" % (basket, position[basket])
        time = shift(text)
        units = int(Decimal(quantity))
        node = "store-" + store
        known = products.get(product)
        attributes = {"store": node}
        if known and known[2]:
            attributes["department"] = known[2]
        else:
            notes["events_without_department"] += 1
        events.append(event(tenant, id, basket, "household-" + household, "purchase", time,
                            minor_units(Decimal(sales)), units, product, attributes))
        fuel = known is not None and known[5] == FUEL_TYPE
        if fuel:
            notes["fuel_lines"] += 1
            notes["fuel_units"] += units
            notes["largest_fuel_line"] = max(notes["largest_fuel_line"], units)
        if units == 0:
            notes["zero_quantity_lines"] += 1
        if fuel and units == 0:
            notes["fuel_and_zero_quantity_lines"] += 1
        if not fuel and units > 0:
            facts.append(fact(tenant, id, "sale", node, product, units, time, "pos"))
    events, facts = by_time(events), by_time(facts)
    summary["complete-journey-events.ndjson.zst"].update(
        rows_read=len(rows), weeks=shift.weeks, kinds=kinds(events), span=span(events),
        sessions=len(position), units=len({e["unit"] for e in events}),
        value=sum(e["value"] for e in events), quantity=sum(e["quantity"] for e in events),
        **notes)
    summary["complete-journey-facts.ndjson.zst"].update(
        kinds=kinds(facts), span=span(facts), nodes=len({f["node"] for f in facts}),
        pairs=len({(f["node"], f["sku"]) for f in facts}),
        quantity=sum(f["quantity"] for f in facts))
    return events, facts


# ------------------------------------------------------------- Online Retail

# Codes that are postage, fees, discounts, vouchers, samples or manual entries.
NOT_GOODS = {"POST", "DOT", "C2", "M", "m", "D", "S", "B", "AMAZONFEE", "BANK CHARGES",
             "CRUK", "23444"}
NOT_GOODS_PATTERN = re.compile(r"gift_\d+_\d+\Z")


def is_goods(code):
    return code not in NOT_GOODS and not NOT_GOODS_PATTERN.match(code)


def online_retail(originals, summary):
    tenant = "online-retail"
    rows = read_csv(os.path.join(originals, "online_retail",
                                 "online_retail_2010-12_2011-08.csv.zst"), "InvoiceNo")
    shift = Shift([r[4] for r in rows])
    notes = Counter()
    codes = Counter()
    position = Counter()
    seen = {}
    events, facts = [], []
    for row in rows:
        invoice, code, _, quantity, text, price, customer, country = row
        position[invoice] += 1
        key = tuple(row)
        if key in seen:
            notes["exact_duplicate_rows"] += 1
            notes["exact_duplicate_rows_not_goods"] += not is_goods(code)
        id = seen.setdefault(key, "%s-%d" % (invoice, position[invoice]))
        time = shift(text)
        units = int(quantity)
        if invoice.startswith("A"):
            notes["bad_debt_rows"] += 1
            notes["bad_debt_value"] += minor_units(units * Decimal(price))
            continue
        cancelled = invoice.startswith("C")
        assert units < 0 if cancelled else units != 0
        if cancelled or units > 0:
            exact = units * Decimal(price) * 100
            notes["values_rounded"] += exact != exact.to_integral_value()
            if units > 0 and Decimal(price) == 0:
                notes["zero_price_purchase_rows"] += 1
                notes["zero_price_purchase_rows_without_customer"] += not customer
            events.append(event(
                tenant, id, invoice, "customer-" + customer if customer else None,
                "return" if cancelled else "purchase", time,
                minor_units(units * Decimal(price)), units, code, {"country": country}))
        if not is_goods(code):
            codes[code] += 1
            notes["not_goods_rows"] += 1
            notes["not_goods_write_off_rows"] += not cancelled and units < 0
            continue
        if cancelled:
            facts.append(fact(tenant, id, "return", "uk-warehouse", code, -units, time, "pos"))
        elif units > 0:
            facts.append(fact(tenant, id, "sale", "uk-warehouse", code, units, time, "pos"))
        else:
            facts.append(fact(tenant, id, "adjust", "uk-warehouse", code, units, time,
                              "back-office"))
    events, facts = by_time(events), by_time(facts)

    def repeats(records):
        lines = [compact(r) for r in records]
        assert len(set(lines)) == len({r["id"] for r in records})
        return len(lines) - len(set(lines))

    summary["online-retail-events.ndjson.zst"].update(
        rows_read=len(rows), weeks=shift.weeks, kinds=kinds(events), span=span(events),
        duplicates=repeats(events), sessions=len({e["session"] for e in events}),
        units=len({e["unit"] for e in events if "unit" in e}),
        without_unit=sum("unit" not in e for e in events),
        value=sum(e["value"] for e in events), quantity=sum(e["quantity"] for e in events),
        not_goods_codes=dict(sorted(codes.items())), **notes)
    summary["online-retail-facts.ndjson.zst"].update(
        kinds=kinds(facts), span=span(facts), duplicates=repeats(facts),
        pairs=len({(f["node"], f["sku"]) for f in facts}),
        spellings_differing_in_case=len({f["sku"] for f in facts})
        - len({f["sku"].upper() for f in facts}))
    return events, facts


# ------------------------------------------- generated stock for real tenants

BLOCK = 13 * WEEK


def effect(record):
    return {"sale": -1, "return": 1, "adjust": 1}[record["kind"]] * record["quantity"]


def need(moves):
    """The stock that is needed beforehand so that `moves` never go below zero."""
    level = lowest = 0
    for _, change in moves:
        level += change
        lowest = min(lowest, level)
    return -lowest


def margin(quantity):
    return quantity + max(2, quantity // 10)


def generated_stock(shops, summary):
    rng = random.Random(20250106)
    records = []
    notes = {}
    for tenant, prefix, facts, stores, hour in shops:
        moves = defaultdict(list)
        sales = Counter()
        done = set()
        for f in facts:
            if f["id"] in done:
                continue  # an exact duplicate moves stock once
            done.add(f["id"])
            pair = (f["node"], f["sku"])
            moves[pair].append((f["event_time_ms"], effect(f)))
            sales[pair] += f["kind"] == "sale"
        if stores:
            lines = Counter()
            for (node, _), count in sales.items():
                lines[node] += count
            chosen = {n for n, _ in sorted(lines.items(), key=lambda x: (-x[1], x[0]))[:stores]}
        else:
            chosen = {node for node, _ in moves}
        pairs = sorted(p for p in moves if p[0] in chosen and sales[p] > 0)
        busiest = set(sorted(pairs, key=lambda p: (-sales[p], p))[:300])
        number = Counter()
        tally = Counter()

        def add(kind, pair, quantity, time, observed_from=None):
            number[kind] += 1
            records.append(fact(tenant, "%s-%s-%05d" % (prefix, kind, number[kind]), kind,
                                pair[0], pair[1], quantity, time, "generated-stock",
                                observed_from=observed_from))

        for pair in pairs:
            short = rng.random() < 0.03
            tally["pairs"] += 1
            tally["pairs_given_too_little"] += short
            if pair not in busiest:
                wanted = need(moves[pair])
                quantity = wanted * 6 // 10 if short else margin(wanted)
                add("count", pair, quantity, START)
                low = quantity - wanted
                tally["pairs_that_run_out"] += low < 0
                continue
            # Opening count for the first block; then, every 13 weeks, a cycle
            # count and an hour later a receipt for the block to come.
            todo = moves[pair]
            cuts = []
            cut = START + BLOCK + hour * HOUR
            while cut < todo[-1][0]:
                at = cut
                while any(at - 15 * MINUTE <= t <= at + HOUR for t, _ in todo):
                    at += DAY
                cuts.append(at)
                cut += BLOCK
            edges = [START] + [at + HOUR for at in cuts] + [todo[-1][0] + 1]
            level = 0
            ran_out = False
            for index in range(len(edges) - 1):
                part = [m for m in todo if edges[index] <= m[0] < edges[index + 1]]
                wanted = need(part)
                target = wanted * 6 // 10 if short else margin(wanted)
                if index == 0:
                    add("count", pair, target, START)
                    level = target
                else:
                    counted = max(0, level - (1 + int(rng.random() * 3)
                                              if rng.random() < 0.2 else 0))
                    at = cuts[index - 1]
                    add("count", pair, counted, at, at - 15 * MINUTE)
                    level = counted
                    if target > level:
                        add("receipt", pair, target - level, at + HOUR)
                        level = target
                ran_out |= level < wanted
                level += sum(change for _, change in part)
            tally["pairs_that_run_out"] += ran_out
        tally["opening_counts"] = len(pairs)
        tally["cycle_counts"] = number["count"] - len(pairs)
        tally["receipts"] = number["receipt"]
        if stores:
            tally["stores"] = len(chosen)
        else:
            tally["skus_never_sold_left_out"] = len(moves) - len(pairs)
        notes[tenant] = dict(tally)
    records = by_time(records)
    summary["generated-stock.ndjson.zst"].update(
        kinds=kinds(records), span=span(records), **notes)
    return records


# ------------------------------------------------- arrival order of the rest


class Item:
    """A generated record and what may happen to it on its way into the file."""

    def __init__(self, record, movable=True, repeatable=True, conflictable=True, group=None):
        self.record = record
        self.time = record["event_time_ms"]
        self.movable = movable  # may arrive late or out of order
        self.repeatable = repeatable
        self.conflictable = conflictable
        self.group = group
        self.behind_group = False  # must arrive after a later record of its group


def whole(rng, low, high):
    """A whole number from low to high, both included."""
    return low + int(rng.random() * (high - low + 1))


def sample(rng, pool, count):
    pool = list(pool)
    taken = []
    for _ in range(min(count, len(pool))):
        index = int(rng.random() * len(pool))
        pool[index], pool[-1] = pool[-1], pool[index]
        taken.append(pool.pop())
    return taken


def arrange(rng, items, bound, share, late, repeated, conflicts, alter, broken, placed=()):
    """Puts the records into arrival order; returns the lines and what was planned. `placed` are further records with
    the time of their arrival, to which nothing else happens."""
    items = sorted(items, key=lambda i: (i.time, i.record["id"]))
    arrival = [i.time for i in items]
    fixed = set()  # positions that keep their place
    moved = set()

    # Records that are overtaken by a later record of their own group.
    groups = defaultdict(list)
    for index, item in enumerate(items):
        if item.group is not None:
            groups[item.group].append(index)
    for index, item in enumerate(items):
        if item.behind_group:
            later = [j for j in groups[item.group]
                     if item.time + SECOND < items[j].time <= item.time + bound - SECOND
                     and not items[j].behind_group]
            if later:
                target = later[int(rng.random() * len(later))]
                fixed.add(target)
                moved.add(index)
                arrival[index] = items[target].time + 1
    in_group = len(moved)

    first = items[0].time + 2 * HOUR
    last = items[-1].time - 2 * HOUR

    def free(test):
        return [i for i, item in enumerate(items)
                if i not in fixed and i not in moved and first < item.time < last and test(item)]

    late_ones = sample(rng, free(lambda i: i.movable and i.repeatable), late)
    moved.update(late_ones)
    conflicting = sample(rng, free(lambda i: i.conflictable), conflicts)
    fixed.update(conflicting)
    repeats = sample(rng, free(lambda i: i.repeatable), repeated)
    fixed.update(repeats)
    candidates = sample(rng, free(lambda i: i.movable),
                        3 * int(share * len(items)))
    wanted = int(share * len(items)) - in_group
    maybe = set(candidates)  # more than wanted: some find nothing to arrive behind
    steady = [item.time for i, item in enumerate(items)
              if i not in moved and i not in maybe]
    out_of_order = 0
    for index in candidates:
        if out_of_order == wanted:
            break
        time = items[index].time
        low = bisect.bisect_right(steady, time)
        high = bisect.bisect_right(steady, time + bound - 1)
        if low < high:
            arrival[index] = steady[low + int(rng.random() * (high - low))] + 1
            moved.add(index)
            out_of_order += 1
    for index in late_ones:
        after = items[index].time + LATE_BEHIND + int(rng.random() * 105 * MINUTE)
        place = bisect.bisect_left(steady, after)
        arrival[index] = steady[min(place, len(steady) - 1)] + 1

    out = [(arrival[i], i, compact(item.record), item.time) for i, item in enumerate(items)]
    order = len(out)
    for index in repeats:
        item = items[index]
        out.append((item.time + whole(rng, 1, 120 * SECOND), order, compact(item.record),
                    item.time))
        order += 1
    for index in conflicting:
        item = items[index]
        other = alter(rng, dict(item.record))
        out.append((item.time + whole(rng, 5 * SECOND, 150 * SECOND), order, compact(other),
                    other["event_time_ms"]))
        order += 1
    for time, line in broken:
        out.append((time, order, line, None))
        order += 1
    for time, record in placed:
        out.append((time, order, compact(record), record["event_time_ms"]))
        order += 1
    out.sort(key=lambda x: (x[0], x[1]))

    # Measured on the finished order, not taken from the plan.
    newest = None
    backlog = sum(time - record["event_time_ms"] >= LATE_BEHIND for time, record in placed)
    plan = {"records": len(items) + len(placed), "backlog": backlog, "exact_duplicates": len(repeats),
            "conflicts": len(conflicting), "broken": len(broken),
            "out_of_order_in_group": in_group, "out_of_order": 0, "late": 0,
            "largest_disorder_ms": 0, "smallest_late_ms": None}
    for _, _, _, time in out:
        if time is None:
            continue
        behind = 0 if newest is None else newest - time
        if behind >= LATE_BEHIND:
            plan["late"] += 1
            plan["smallest_late_ms"] = min(behind, plan["smallest_late_ms"] or behind)
        elif behind > 0:
            plan["out_of_order"] += 1
            plan["largest_disorder_ms"] = max(behind, plan["largest_disorder_ms"])
        newest = time if newest is None else max(newest, time)
    assert plan["late"] == late + backlog and plan["largest_disorder_ms"] <= bound < LATENESS
    return [line for _, _, line, _ in out], plan


# ----------------------------------------------------------- generated events

SKUS = ["sku-%03d" % n for n in range(1, 61)]
HOURS = [1, 1, 1, 1, 1, 2, 4, 7, 10, 12, 13, 14, 15, 14, 13, 13, 14, 16, 18, 19, 17, 12, 7, 3]
DAYS = 14


def pick_hour(rng):
    point = rng.random() * sum(HOURS)
    for hour, weight in enumerate(HOURS):
        point -= weight
        if point < 0:
            return hour
    return 23


def pick_sku(rng):
    """Low numbers are asked for more often."""
    u = rng.random()
    return int(len(SKUS) * u * u)


def generated_events(summary):
    tenant = "generated"
    rng = random.Random(1701)
    price = [199 + 10 * whole(rng, 0, 480) for _ in SKUS]
    drafts = []  # (time, order, session, unit, kind, fields, late exposure)

    def draft(time, session, unit, kind, **fields):
        drafts.append([time, len(drafts), session, unit, kind, fields, False])

    sessions = exposed = without_unit = 0
    while len(drafts) < 20000:
        sessions += 1
        session = "s-%05d" % sessions
        unit = "visitor-%04d" % whole(rng, 1, 900) if rng.random() < 0.95 else None
        without_unit += unit is None
        mobile = rng.random() < 0.6
        time = (START + whole(rng, 0, DAYS - 1) * DAY + pick_hour(rng) * HOUR
                + whole(rng, 0, HOUR - 1))
        end = START + DAYS * DAY - HOUR
        time = min(time, end)
        views = 1 + min(whole(rng, 0, 7), whole(rng, 0, 7))
        exposure_at = whole(rng, 0, min(2, views - 1)) if rng.random() < 0.6 else -1
        cart = []
        for step in range(views):
            sku = pick_sku(rng)
            draft(time, session, unit, "view", item=SKUS[sku],
                  attributes={"page": "product", "mobile": mobile, "step": step + 1})
            if step == exposure_at:
                exposed += 1
                draft(time + whole(rng, 200, 3000), session, unit, "exposure",
                      attributes={"experiment": "free-delivery"})
                drafts[-1][6] = rng.random() < 0.15
            if rng.random() < 0.55:
                time += whole(rng, 3 * SECOND, 40 * SECOND)
                draft(time, session, unit, "click", item=SKUS[sku],
                      attributes={"target": "photo" if rng.random() < 0.5 else "details"})
                if rng.random() < 0.45:
                    time += whole(rng, 3 * SECOND, 60 * SECOND)
                    units = 1 if rng.random() < 0.75 else whole(rng, 2, 4)
                    cart.append((sku, units))
                    draft(time, session, unit, "add_to_cart", quantity=units, item=SKUS[sku])
            time += (whole(rng, 5 * SECOND, 100 * SECOND) if rng.random() < 0.93
                     else whole(rng, 2 * MINUTE, 8 * MINUTE))
        if cart and rng.random() < 0.5:
            time += whole(rng, 20 * SECOND, 180 * SECOND)
            for sku, units in cart:
                draft(time, session, unit, "purchase", value=units * price[sku], quantity=units,
                      item=SKUS[sku], attributes={"channel": "app" if mobile else "web"})
                time += 150
                back = time + whole(rng, DAY, 5 * DAY)
                if rng.random() < 0.03 and back < end:
                    draft(back, "r" + session[1:], unit, "return", value=-units * price[sku],
                          quantity=-units, item=SKUS[sku], attributes={"channel": "web"})

    drafts.sort(key=lambda d: (d[0], d[1]))
    items = []
    for number, (time, _, session, unit, kind, fields, behind) in enumerate(drafts, 1):
        item = Item(event(tenant, "e-%06d" % number, session, unit, kind, time, **fields),
                    conflictable=kind in ("purchase", "add_to_cart"), group=session)
        item.behind_group = behind
        items.append(item)

    def alter(rng, record):
        record["quantity"] += 1
        if "value" in record:
            record["value"] += 100
        if rng.random() < 0.5:
            record["event_time_ms"] += whole(rng, 1, 2000)
        return record

    sorts = []
    broken = []

    def bad(sort, change):
        time = START + len(broken) * 19 * HOUR + 10 * HOUR + 17 * MINUTE + 5
        number = len(broken) + 1
        record = event(tenant, "broken-event-%02d" % number, "s-broken-%02d" % number,
                       "visitor-9999", "purchase", time, 500, 1, "sku-001",
                       {"channel": "web"})
        line = change(record, time)
        broken.append((time, line if isinstance(line, bytes) else compact(record)))
        sorts.append(sort)

    bad("not JSON", lambda r, t: b"this line is not JSON")
    bad("JSON cut off in the middle", lambda r, t: compact(r)[:70])
    bad("a JSON array instead of an object", lambda r, t: b'["generated","broken-event-03"]')
    bad("event_time_ms missing", lambda r, t: r.pop("event_time_ms") and None)
    bad("id missing", lambda r, t: r.pop("id") and None)
    bad("unknown kind", lambda r, t: r.update(kind="wish"))
    bad("unknown tenant", lambda r, t: r.update(tenant="nobody"))
    bad("negative event time", lambda r, t: r.update(event_time_ms=-1))
    bad("event time in the year 2099", lambda r, t: r.update(event_time_ms=4070908800000 + 1))
    bad("item of 10,000 characters", lambda r, t: r.update(item="x" * 10000))
    bad("value of 2^41", lambda r, t: r.update(value=1 << 41))
    bad("event time as text", lambda r, t: r.update(event_time_ms=str(t)))
    bad("quantity with a fraction", lambda r, t: r.update(quantity=1.5))
    bad("a byte that is not UTF-8", lambda r, t: compact(r).replace(b"sku-001", b"sku-\xff01"))
    bad("nested attributes", lambda r, t: r.update(attributes={"a": {"b": 1}}))
    bad("65 attributes", lambda r, t: r.update(attributes={"a%02d" % n: n for n in range(65)}))

    lines, plan = arrange(rng, items, 5 * MINUTE, 0.05, late=60, repeated=200, conflicts=10,
                          alter=alter, broken=broken)
    records = [i.record for i in items]
    summary["generated-events.ndjson.zst"].update(
        kinds=kinds(records), span=span(records), sessions=len({r["session"] for r in records}),
        visits=sessions, visits_with_exposure=exposed, visits_without_unit=without_unit,
        broken_sorts=sorts, **plan)
    return lines


# ------------------------------------------------------------ generated facts


class Move:
    """A generated fact before it has its id and sequence."""

    def __init__(self, time, node, source, kind, sku, quantity, **more):
        self.time, self.node, self.source = time, node, source
        self.kind, self.sku, self.quantity = kind, sku, quantity
        self.more = more
        self.corrects = None
        self.void = False
        self.corrected = False
        self.id = None


def generated_facts(summary):
    tenant = "generated"
    rng = random.Random(4242)
    stores = ["store-%02d" % n for n in range(1, 7)]
    depot, picker = "warehouse-01", "warehouse-02"
    nodes = stores + [depot, picker]
    end = START + DAYS * DAY
    restart = START + 7 * DAY + 12 * HOUR + 1
    stock = Counter()  # (node, sku, state) -> what is truly there
    made = []
    placed = []
    queue = []
    order = 0

    def at(time, action):
        nonlocal order
        heapq.heappush(queue, (time, order, action))
        order += 1

    def add(*args, **more):
        move = Move(*args, **more)
        made.append(move)
        return move

    def change(node, sku, by, state="sellable"):
        stock[node, sku, state] += by

    # What a correction or a void does to the true stock, by kind.
    sign = {"sale": -1, "receipt": 1, "return": 1}
    notes = Counter()

    def correct(time, before, quantity, void=False):
        move = add(time, before.node, before.source, before.kind, before.sku, quantity)
        move.corrects, move.void = before, void
        before.corrected = True
        change(before.node, before.sku, sign[before.kind] * (quantity - before.quantity))
        notes["voids" if void else "corrections"] += 1

    def sale(time, node, sku, quantity):
        if stock[node, sku, "sellable"] < quantity and rng.random() < 0.9:
            notes["sales_refused_for_want_of_stock"] += 1
            return
        move = add(time, node, "pos", "sale", sku, quantity)
        change(node, sku, -quantity)
        luck = rng.random()
        if luck < 0.010:
            soon = time + whole(rng, 30 * SECOND, 4 * MINUTE)
            at(soon, lambda t: correct(t, move, quantity + 1 if quantity == 1 else quantity - 1))
        elif luck < 0.011:
            hours = time + whole(rng, 2, 5) * HOUR + whole(rng, 0, HOUR)
            if hours < end - DAY:
                notes["corrections_hours_later"] += 1
                at(hours, lambda t: correct(t, move, quantity + 2))
        elif luck < 0.0125:
            soon = time + whole(rng, 30 * SECOND, 4 * MINUTE)
            at(soon, lambda t: correct(t, move, 0, void=True))
        elif luck < 0.035:
            back = time + whole(rng, 10 * MINUTE, 90 * MINUTE)
            at(back, lambda t: bring_back(t, node, sku))

    def bring_back(time, node, sku):
        add(time, node, "pos", "return", sku, 1)
        change(node, sku, 1)

    def receipt(time, node, sku, quantity, wrong=False):
        move = add(time, node, "back-office", "receipt", sku, quantity)
        change(node, sku, quantity)
        if wrong:
            at(time + 3 * MINUTE, lambda t: correct(t, move, quantity - 5))

    def transfer(time, node, sku, quantity, arrives):
        quantity = min(quantity, stock[depot, sku, "sellable"])
        if quantity <= 0:
            return
        add(time, depot, "back-office", "transfer_out", sku, quantity)
        change(depot, sku, -quantity)
        got = quantity - 1 if rng.random() < 0.03 else quantity
        notes["transfers_one_unit_short"] += got != quantity
        if got:
            at(arrives, lambda t: take_in(t, node, sku, got))

    def take_in(time, node, sku, quantity):
        add(time, node, "back-office", "transfer_in", sku, quantity)
        change(node, sku, quantity)

    def shift_state(time, node, sku, state, to_state, quantity):
        quantity = min(quantity, stock[node, sku, state])
        if quantity > 0:
            add(time, node, "handheld", "state_move", sku, quantity, to_state=to_state,
                state=None if state == "sellable" else state)
            change(node, sku, -quantity, state)
            change(node, sku, quantity, to_state)

    def look(time, node, sku):
        add(time, node, "handheld", "shelf_observation", sku,
            max(0, min(12, stock[node, sku, "sellable"])))

    def adjust(time, node, sku, quantity):
        add(time, node, "back-office", "adjust", sku, quantity)
        change(node, sku, quantity)

    def count(time, node, sku):
        there = max(0, stock[node, sku, "sellable"])
        if rng.random() < 0.15:
            there = max(0, there - whole(rng, 1, 3))
        move = add(time, node, "handheld", "count", sku, there, observed_from=time - 10 * MINUTE)
        stock[node, sku, "sellable"] = there
        notes["cycle_counts"] += 1
        # Some of the last counts turn out to be of the wrong shelf: their keys stay unknown until they are counted again.
        if time > end - 3 * DAY and notes["cycle_counts"] % 9 == 0:
            at(time + 7 * MINUTE, lambda t: void_count(t, move))

    def void_count(time, before):
        move = add(time, before.node, "handheld", "count", before.sku, 0)
        move.corrects, move.void = before, True
        before.corrected = True
        notes["voided_counts"] += 1

    def snapshot(time, node, sku):
        there = max(0, stock[node, sku, "sellable"])
        add(time, node, "back-office", "snapshot", sku, there, observed_from=time - 10 * MINUTE)

    def take(time, node, sku, quantity):
        quantity = min(quantity, stock[node, sku, "sellable"])
        if quantity > 0:
            add(time, node, "handheld", "pick", sku, quantity)
            change(node, sku, -quantity)

    def count_damaged(time, node):
        for sku in SKUS:
            there = stock[node, sku, "damaged"]
            if there:
                placed.append((time, fact(
                    tenant, "damaged-%s-%s-%d" % (node, sku, (time - START) // WEEK + 1), "count", node, sku, there,
                    time, "handheld", state="damaged", observed_from=time - 10 * MINUTE)))
                notes["counts_of_damaged"] += 1

    def clock(time, node):
        add(time, node, "pos" if node in stores else "back-office", "clock", None, 0)

    # Opening counts, at the first instant.
    for node in nodes:
        for number, sku in enumerate(SKUS):
            quantity = whole(rng, 20, 80) if node in stores else whole(rng, 300, 900)
            add(START, node, "handheld", "count", sku, quantity)
            change(node, sku, quantity)
            if node in stores and number < 20:
                quantity = whole(rng, 5, 30)
                add(START, node, "handheld", "count", sku, quantity, state="backroom")
                change(node, sku, quantity, "backroom")

    def plan(time, action, *args):
        at(time, lambda t: action(t, *args))

    for day in range(DAYS):
        dawn = START + day * DAY
        busy = [90, 85, 90, 95, 120, 150, 70][day % 7]

        def between(low, high):
            return dawn + low * HOUR + whole(rng, 0, (high - low) * HOUR - 1)

        for node in stores:
            for _ in range(6):
                plan(between(4, 5), transfer, node, SKUS[pick_sku(rng)], whole(rng, 10, 40),
                     between(6, 7))
            for _ in range(2):
                plan(between(7, 8), receipt, node, SKUS[pick_sku(rng)], whole(rng, 5, 25))
            for _ in range(busy):
                u = rng.random()
                quantity = 1 if u < 0.7 else 2 if u < 0.9 else whole(rng, 3, 6)
                plan(between(8, 21), sale, node, SKUS[pick_sku(rng)], quantity)
            for _ in range(3):
                plan(between(9, 19), shift_state, node, SKUS[whole(rng, 0, 19)], "backroom",
                     "sellable", whole(rng, 1, 6))
            plan(between(9, 19), shift_state, node, SKUS[whole(rng, 0, 59)], "sellable",
                 "damaged", 1)
            for _ in range(6):
                plan(between(9, 20), look, node, SKUS[pick_sku(rng)])
            plan(between(9, 20), adjust, node, SKUS[whole(rng, 0, 59)],
                 -whole(rng, 1, 3) if rng.random() < 0.8 else 1)
            for sku in sorted(sample(rng, SKUS, 5)):
                plan(dawn + 23 * HOUR, count, node, sku)
        for node in (depot, picker):
            for n in range(8):
                plan(between(10, 12), receipt, node, SKUS[pick_sku(rng)], whole(rng, 50, 200),
                     n == 0 and day in (2, 6, 10))
        for sku in sorted(sample(rng, SKUS, 3)):
            plan(dawn + 23 * HOUR, count, depot, sku)
        for _ in range(20):
            plan(between(9, 17), take, picker, SKUS[pick_sku(rng)], whole(rng, 1, 5))
        for node in nodes:
            plan(dawn + 12 * HOUR, clock, node)
            plan(dawn + DAY, clock, node)
    for sku in SKUS:
        plan(START + WEEK + HOUR, snapshot, depot, sku)
    for week in (1, 2):
        for node in stores:
            plan(START + week * WEEK - HOUR, count_damaged, node)

    while queue:
        time, _, action = heapq.heappop(queue)
        if time <= end:
            action(time)

    # Ids and sequences, in the order in which each source recorded its facts.
    made = [m for _, m in sorted(enumerate(made), key=lambda x: (x[1].time, x[0]))]
    next_sequence = Counter()
    next_number = Counter()
    skipped = ("store-02", "pos", 1, 500)
    items = []
    for move in made:
        node, source = move.node, move.source
        sequenced = move.kind != "clock" and (
            source == "pos" or (source == "back-office" and node not in stores))
        epoch = sequence = None
        if sequenced:
            epoch = 2 if node == "store-03" and move.time >= restart else 1
            stream = (node, source, epoch)
            if stream + (next_sequence[stream],) == skipped:
                next_sequence[stream] += 1
            sequence = next_sequence[stream]
            next_sequence[stream] += 1
            move.id = "%s-%s-%d-%d" % (source, node, epoch, sequence)
        else:
            label = "clock" if move.kind == "clock" else source
            next_number[label, node] += 1
            move.id = "%s-%s-%04d" % (label, node, next_number[label, node])
        before = move.corrects
        record = fact(tenant, move.id, move.kind, node, move.sku, move.quantity, move.time,
                      source, epoch=epoch, sequence=sequence, void=move.void,
                      corrects=None if before is None else {
                          "id": before.id, "kind": before.kind, "quantity": before.quantity,
                          "event_time_ms": before.time},
                      **move.more)
        loose = not move.corrected and before is None
        plain = move.kind in ("sale", "return", "shelf_observation", "pick", "state_move")
        items.append(Item(record, movable=plain and loose,
                          repeatable=loose and move.kind != "clock",
                          conflictable=loose and not sequenced and move.kind in (
                              "shelf_observation", "pick", "adjust", "receipt")))
        notes["sequenced" if sequenced else "unsequenced"] += 1

    # A scanner of the second warehouse was without network from the first morning to the last evening. Nobody counts
    # there after the opening, so what it tells then leaves its keys in doubt for good.
    for number in range(1, 13):
        time = START + 9 * HOUR + number * 10 * MINUTE
        placed.append((START + 13 * DAY + 21 * HOUR + 30 * MINUTE + number, fact(
            tenant, "offline-%s-%02d" % (picker, number), "pick", picker, SKUS[number - 1], 1 + number % 3, time,
            "handheld")))

    def alter(rng, record):
        record["quantity"] += 1
        if rng.random() < 0.5:
            record["event_time_ms"] += whole(rng, 1, 2000)
        return record

    sorts = []
    broken = []

    def bad(sort, change):
        time = START + len(broken) * 29 * HOUR + 11 * HOUR + 3 * MINUTE + 7
        record = fact(tenant, "broken-fact-%02d" % (len(broken) + 1), "sale", "store-01",
                      "sku-001", 1, time, "handheld")
        line = change(record)
        broken.append((time, line if isinstance(line, bytes) else compact(record)))
        sorts.append(sort)

    bad("not JSON", lambda r: compact(r)[:-1] + b",,}")
    bad("node missing", lambda r: r.pop("node") and None)
    bad("sku missing on a sale", lambda r: r.pop("sku") and None)
    bad("unknown kind", lambda r: r.update(kind="swap"))
    bad("sale with a negative quantity", lambda r: r.update(quantity=-3))
    bad("quantity of 2^41", lambda r: r.update(quantity=1 << 41))
    bad("epoch without sequence", lambda r: r.update(epoch=1))
    bad("state_move without to_state", lambda r: r.update(kind="state_move"))
    bad("void without corrects", lambda r: r.update(quantity=0, void=True))

    lines, plan_made = arrange(rng, items, 3 * MINUTE, 0.05, late=40, repeated=130,
                               conflicts=5, alter=alter, broken=broken, placed=placed)
    records = [i.record for i in items] + [record for _, record in placed]
    summary["generated-facts.ndjson.zst"].update(
        kinds=kinds(records), span=span(records), nodes=len({r["node"] for r in records}),
        skus=len({r["sku"] for r in records if "sku" in r}), streams=len(next_sequence),
        missing_sequence="%s %s epoch %d sequence %d" % skipped, broken_sorts=sorts,
        duplicates_sequenced=sum(n - 1 for line, n in Counter(lines).items()
                                 if n > 1 and b'"sequence"' in line),
        **notes, **plan_made)
    return lines


# ----------------------------------------------------------------------- main


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: make-samples.py ORIGINALS_FOLDER OUTPUT_FOLDER")
    originals, folder = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    summary = defaultdict(dict)

    def put(name, lines):
        write(folder, name, lines, summary)

    cj_events, cj_facts = complete_journey(originals, summary)
    put("complete-journey-events.ndjson.zst", [compact(r) for r in cj_events])
    put("complete-journey-facts.ndjson.zst", [compact(r) for r in cj_facts])
    del cj_events
    or_events, or_facts = online_retail(originals, summary)
    put("online-retail-events.ndjson.zst", [compact(r) for r in or_events])
    put("online-retail-facts.ndjson.zst", [compact(r) for r in or_facts])
    del or_events
    stock = generated_stock([("complete-journey", "cj", cj_facts, 15, 8),
                             ("online-retail", "or", or_facts, None, 4)], summary)
    put("generated-stock.ndjson.zst", [compact(r) for r in stock])
    put("generated-events.ndjson.zst", generated_events(summary))
    put("generated-facts.ndjson.zst", generated_facts(summary))
    total = sum(s["bytes_packed"] for s in summary.values())
    print(json.dumps({"files": summary, "bytes_packed_together": total}, indent=1))
    if total >= 8 * 1000 * 1000:
        sys.exit("the samples are larger than 8 MB together")


if __name__ == "__main__":
    main()
