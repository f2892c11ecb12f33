"""``make load``: clients that annotate for some minutes, and a huge upload; prints a table."""

import argparse
import asyncio
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.load.annotators import Crowd, Plan
from tests.load.records import Records, held_twice
from tests.load.report import as_markdown
from tests.load.site import arriving, open_site
from tests.load.upload import SLICE_BYTES, Upload, upload
from tests.load.verdict import Verdict, judge
from tests.load.watching import Watch, watching


@dataclass(frozen=True)
class Outcome:
    """What a load showed.

    Attributes:
        plan: What was asked for.
        records: What the clients saw.
        watch: What the processes did.
        verdict: What the data folder held afterwards.
        upload: The huge upload, None where there was none.
    """

    plan: Plan
    records: Records
    watch: Watch
    verdict: Verdict
    upload: Upload | None

    @property
    def is_good(self) -> bool:
        """Whether nothing was refused, lost, double or left over."""
        is_clean = self.upload is None or not (
            self.upload.left_over or self.upload.before.errors or self.upload.meanwhile.errors
        )
        return self.verdict.is_good and not self.records.errors and is_clean


def play(folder: Path, plan: Plan, *, upload_bytes: int, quiet_s: float) -> Outcome:
    """Let clients annotate, then send something huge, then look through the data folder."""
    images = plan.images * plan.clients
    most_mb = max(2048, upload_bytes // 2**20 + 1)
    with open_site(folder, images=images, annotators=plan.clients, upload_limit_mb=most_mb) as site:
        crowd, huge = Crowd(site, plan), None
        with arriving(site.cases, crowd.is_dry, images), watching(site) as watch:
            asyncio.run(crowd.annotate())
        if upload_bytes:
            huge = upload(site, upload_bytes // SLICE_BYTES, quiet_s=quiet_s)
    records = crowd.records
    verdict = judge(site.settings, records)
    verdict.double.extend(f"{one} and {other}" for one, other in held_twice(records.holds))
    verdict.double.extend(watch.held_twice)
    return Outcome(plan, records, watch, verdict, huge)


def main() -> int:
    """Run the load, print its figures; 1 if something was lost, double, refused or left over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--requests", type=int, default=1_000_000, help="stop after so many")
    parser.add_argument(
        "--think", type=float, default=2.0, help="mean pause of a client, in seconds"
    )
    parser.add_argument("--upload-mb", type=int, default=2048, help="0: no upload")
    parser.add_argument("--quiet", type=float, default=20.0, help="beat before the upload")
    parser.add_argument("--folder", type=Path, help="where the data lies (default: temporary)")
    given = parser.parse_args()
    plan = Plan(given.clients, given.seconds, given.requests, given.think)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        outcome = play(Path(folder), plan, upload_bytes=given.upload_mb << 20, quiet_s=given.quiet)
    sys.stdout.write(as_markdown(outcome))
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
