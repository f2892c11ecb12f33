"""The figures of a load as Markdown."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from server.bench.machine import machine_facts
from tests.load.records import Times, times
from tests.load.upload import Upload
from tests.load.watching import Glance, Watch, memory_growth

if TYPE_CHECKING:
    from tests.load.run import Outcome

_SHOWN_ERRORS = 20


def as_markdown(outcome: "Outcome") -> str:
    """Return the tables of ``docs/reliability.md``."""
    return "\n".join(_lines(outcome)) + "\n"


def _lines(outcome: "Outcome") -> Iterator[str]:
    records, plan, watch = outcome.records, outcome.plan, outcome.watch
    facts = machine_facts()
    lasted = watch.web[-1].at_s if watch.web else plan.seconds
    yield f"{plan.clients} clients, {lasted:.0f} s, {records.count} requests"
    yield f"({records.count / lasted:.0f} a second); {facts['processor']}, {facts['cores']} cores,"
    yield f"load average {np.mean(watch.load or [0]):.1f}; {facts['versions']}"
    yield ""
    yield "| request | count | errors | p50 ms | p95 ms | p99 ms | max ms |"
    yield "|---|---|---|---|---|---|---|"
    errors = records.errors_by_kind()
    for kind, seconds in sorted(records.seconds.items()):
        yield f"| `{kind}` | {len(seconds)} | {errors.get(kind, 0)} | {_cells(times(seconds))} |"
    every = [one for seconds in records.seconds.values() for one in seconds]
    yield f"| all | {records.count} | {len(records.errors)} | {_cells(times(every))} |"
    yield ""
    yield from _facts(outcome)
    yield from _upload(outcome.upload) if outcome.upload else ()
    yield from (f"error: {error}" for error in records.errors[:_SHOWN_ERRORS])


def _cells(found: Times) -> str:
    figures = (found.p50_ms, found.p95_ms, found.p99_ms, found.max_ms)
    return " | ".join(f"{figure:.0f}" for figure in figures)


def _facts(outcome: "Outcome") -> Iterator[str]:
    records, verdict = outcome.records, outcome.verdict
    yield "| | |"
    yield "|---|---|"
    labels = f"{len(records.kept)}, {verdict.labels}, {len(verdict.lost)}"
    yield f"| labels acknowledged, stored, lost | {labels} |"
    yield f"| images given to two at once, of {len(records.holds)} given | {len(verdict.double)} |"
    yield f"| nothing left to label | {records.dry} times |"
    yield f"| files or rows left over, damaged | {len(verdict.left_over)}, {len(verdict.damage)} |"
    yield from _process("web process", outcome.watch.web)
    yield from _process("worker", outcome.watch.worker)
    yield f"| write-ahead log | {_most(outcome.watch)} MiB at most |"
    yield ""
    yield from (*verdict.lost[:5], *verdict.double[:5], *verdict.left_over[:5], *verdict.damage[:5])


def _most(watch: Watch) -> str:
    return f"{max(watch.wal_mib, default=0):.1f}"


def _process(name: str, glances: Sequence[Glance]) -> Iterator[str]:
    if len(glances) < 6:
        return
    grown = memory_growth(glances)
    verdict = "flat" if grown.is_flat else "growing"
    busy = (glances[-1].processor_s - glances[0].processor_s) / (glances[-1].at_s - glances[0].at_s)
    settled = glances[len(glances) // 3 :]
    files, threads = [one.files for one in settled], [one.threads for one in settled]
    yield (
        f"| {name} | {grown.start:.0f} to {grown.end:.0f} MiB, highest {grown.highest:.0f},"
        f" trend {grown.slope:+.1f}: {verdict}; files {min(files)} to {max(files)},"
        f" threads {min(threads)} to {max(threads)}; {busy:.0%} of a core |"
    )


def _upload(found: Upload) -> Iterator[str]:
    memory, disk = found.memory_mib, found.disk_mib
    yield ""
    yield f"Upload: {found.status} {found.text[:80]}, {found.sent_s:.0f} s until it was sent,"
    yield f"{found.answered_s:.0f} s until it was answered; memory of the web process"
    yield f"{memory[0]:.0f} MiB, at most {memory[1]:.0f}, afterwards {memory[2]:.0f}; disk at most"
    yield f"{disk[1] - disk[0]:+.0f} MiB, afterwards {disk[2] - disk[0]:+.0f}; left over:"
    yield f"{len(found.left_over)} files"
    yield ""
    yield "| `/info/` every 50 ms | count | errors | p50 ms | p95 ms | p99 ms | max ms |"
    yield "|---|---|---|---|---|---|---|"
    for name, beat in (("without the upload", found.before), ("with it", found.meanwhile)):
        for since, seconds in (("sent", beat.seconds), ("due", beat.waited)):
            cells = _cells(times(seconds)) if seconds else "| | |"
            yield f"| {name}, since {since} | {len(seconds)} | {len(beat.errors)} | {cells} |"
