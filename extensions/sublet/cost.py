"""What a cell cost: the lease's GPUs and price, for as long as the cell ran."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from sublet import as_html, as_text, wording
from sublet.gpu_use import GpuUse
from sublet.leases import Lease

NOTE = (
    "A lease is charged while it lasts, whether a cell runs or not. What is charged is in the ledger, to the second:"
    " sublet.lease(), sublet.usage()."
)


@dataclass(frozen=True, slots=True, repr=False)
class CellCost:
    """What `%%sublet cost` shows. Money is in units of `currency`."""

    seconds: Decimal
    gpus: Decimal
    gpu_seconds: Decimal
    cost: Decimal
    currency: str
    utilisation_percent: int | None
    """Mean of NVML's samples while the cell ran; None where there are none."""
    lease: Lease
    gpus_sampled: int

    @classmethod
    def of(cls, lease: Lease, seconds: float, use: GpuUse) -> CellCost:
        lasted = Decimal(f"{seconds:.3f}")
        return cls(
            seconds=lasted,
            gpus=lease.gpus,
            gpu_seconds=lasted * lease.gpus,
            cost=lasted * lease.price_per_hour / 3600,
            currency=lease.currency,
            utilisation_percent=use.percent,
            lease=lease,
            gpus_sampled=use.gpus,
        )

    def __repr__(self) -> str:
        return as_text.facts(self._rows()) + f"\n{NOTE}"

    def _repr_html_(self) -> str:
        return f'<div>{as_html.facts(self._rows())}<p style="margin:0;opacity:0.75">{NOTE}</p></div>'

    def _rows(self) -> tuple[tuple[str, str], ...]:
        return (
            ("Time", wording.fine_duration(self.seconds)),
            ("GPU time", self._gpu_time()),
            ("Utilisation", self._utilisation()),
            ("Money", self._money()),
        )

    def _gpu_time(self) -> str:
        return f"{wording.fine_gpu_time(self.gpu_seconds)} ({wording.gpus(self.lease)})"

    def _utilisation(self) -> str:
        if self.utilisation_percent is not None:
            of = "the GPU" if self.gpus_sampled == 1 else f"{self.gpus_sampled} GPUs"
            return f"{self.utilisation_percent} % of {of}, on average"
        if self.lease.gpus == 0:
            return "this lease has no GPU"
        if self.lease.simulated:
            return "not known: the GPU is simulated"
        return "not known: the cell was too short, or the GPU does not tell"

    def _money(self) -> str:
        return f"{wording.exact_money(self.cost, self.currency)}, at {wording.price(self.lease)}"
