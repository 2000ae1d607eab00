"""Reads metrics from standard input with the parser of Prometheus' client library, and checks what it lets pass."""

import re
import sys

from prometheus_client.parser import text_string_to_metric_families

NAMES = [
    "conversational_core_requests", "conversational_core_request_duration_seconds", "conversational_core_conversations",
    "cortex_connections_open", "cortex_streams", "cortex_stream_lag_seconds", "cortex_outbox_bytes", "cortex_queue_items",
    "cortex_commit_commands", "cortex_commit_duration_seconds", "cortex_journal_events", "cortex_wal_bytes",
    "cortex_catchup_pages", "cortex_gaps", "cortex_logins", "cortex_refusals", "cortex_answers_running",
    "cortex_responder_breaker_state", "process_resident_memory_bytes", "process_open_fds", "process_max_fds",
    "process_start_time_seconds", "process_cpu_seconds", "cortex_build_info",
]

text = sys.stdin.read()
assert text.endswith("\n"), "the last line ends too"
for mark in ("HELP", "TYPE"):
    named = re.findall(rf"^# {mark} (\S+)", text, re.MULTILINE)
    assert len(named) == len(set(named)), f"{mark} stands once per family"

families = list(text_string_to_metric_families(text))
names = [family.name for family in families]
assert len(names) == len(set(names)), "the samples of a family stand together"
missing = [name for name in NAMES if name not in names]
assert not missing, missing

seen = set()
for family in families:
    assert family.type in ("counter", "gauge", "histogram"), family
    assert family.documentation, f"{family.name} says what it is"
    assert family.samples or family.name == "conversational_core_request_duration_seconds", family
    histograms = {}
    for sample in family.samples:
        series = (sample.name, tuple(sorted(sample.labels.items())))
        assert series not in seen, f"{series} stands once"
        seen.add(series)
        assert sample.value >= 0, sample
        if family.type == "counter":
            assert sample.name == family.name + "_total", sample
        if family.type == "histogram":
            labels = {name: value for name, value in sample.labels.items() if name != "le"}
            one = histograms.setdefault(tuple(sorted(labels.items())), {"buckets": []})
            if sample.name.endswith("_bucket"):
                one["buckets"].append((float(sample.labels["le"]), sample.value))
            else:
                one[sample.name[len(family.name):]] = sample.value
    for labels, one in histograms.items():
        bounds = [bound for bound, _ in one["buckets"]]
        counts = [count for _, count in one["buckets"]]
        assert bounds == sorted(set(bounds)) and bounds[-1] == float("inf"), (family.name, labels, bounds)
        assert counts == sorted(counts), f"{family.name}{labels}: buckets add up"
        assert counts[-1] == one["_count"] and "_sum" in one, (family.name, labels, one)
