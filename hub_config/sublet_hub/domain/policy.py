"""The times that rule leases, in one value that api and meter share."""

from __future__ import annotations

from dataclasses import dataclass

from sublet_hub.domain.deadlines import Margins


@dataclass(frozen=True, slots=True)
class Policy:
    """Times in milliseconds unless the name says otherwise; docs/settings.md tells what each is for."""

    slice_ms: int = 600_000
    minimum_lease_ms: int = 10_000
    grant_ttl_ms: int = 120_000
    post_interval_ms: int = 30_000
    meter_stale_ms: int = 15_000
    notice_leads_seconds: tuple[int, ...] = (300, 60)
    end_margin_ms: int = 1_000
    longest_lease_ms: int = 7 * 24 * 3_600_000
    stop_ms: int = 6_000
    """Until its deadline, from when a lease is told to stop at once: to save. It ends as soon as it is done."""

    @property
    def margins(self) -> Margins:
        longest_lead = max(self.notice_leads_seconds, default=0)
        return Margins(self.end_margin_ms, longest_lead * 1000, self.longest_lease_ms)
