"""``consent-ledger erase-evidence``, meant for cron."""

from typing import Annotated

import orjson
import typer

from ledger.cli.people import actor
from ledger.cli.setup import AsJson, Ledger, with_ledger
from ledger.domain.ids import Position
from ledger.errors import InvalidRequest
from ledger.retention import DAYS_MAX, DAYS_MIN, Plan, Retention
from ledger.settings import Settings

retention_app = typer.Typer()


@retention_app.command("erase-evidence")
def erase_evidence(
    older_than: Annotated[
        int | None,
        typer.Option(
            min=DAYS_MIN,
            max=DAYS_MAX,
            metavar="DAYS",
            help="Instead of LEDGER_EVIDENCE_DAYS_MAX.",
        ),
    ] = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Destroy evidence that is older than an age, but for numbers under a hold."""

    async def run(ledger: Ledger) -> tuple[Plan, Position | None]:
        days_max = _days_max(ledger.settings, older_than)
        retention = Retention(ledger.pool, ledger.store, ledger.keyring)
        if dry_run:
            return await retention.plan(days_max), None
        done = await retention.run(days_max, actor=actor())
        await retention.vacuum()
        return done

    plan, position = with_ledger(run)
    _print(plan, position, dry_run=dry_run, as_json=as_json)


def _days_max(settings: Settings, older_than: int | None) -> int:
    days_max = older_than or settings.evidence_days_max
    if days_max is None:
        raise InvalidRequest(
            "no age is set, so evidence is kept: give --older-than DAYS, or set "
            "LEDGER_EVIDENCE_DAYS_MAX"
        )
    return days_max


def _print(
    plan: Plan, position: Position | None, *, dry_run: bool, as_json: bool
) -> None:
    answer = {
        "dryRun": dry_run,
        "before": plan.before,
        "days": len(plan.days),
        "from": plan.days[0] if plan.days else None,
        "to": plan.days[-1] if plan.days else None,
        "held": plan.keepers,
        "noLongerHeld": plan.drops,
        "position": position,
    }
    if as_json:
        typer.echo(orjson.dumps(answer, option=orjson.OPT_UTC_Z).decode())
        return
    typer.echo(_sentence(plan, dry_run=dry_run))


def _sentence(plan: Plan, *, dry_run: bool) -> str:
    verb = "would be destroyed" if dry_run else "destroyed"
    parts = []
    if plan.days:
        parts.append(f"the evidence of {_days(plan.days)}")
    if plan.drops:
        parts.append("what numbers had kept that are no longer under a hold")
    if not parts:
        return f"no evidence is from before {plan.before:%Y-%m-%d}"
    kept = f"; {plan.keepers} numbers under a hold keep theirs" if plan.keepers else ""
    return f"{verb}: {', and '.join(parts)}{kept}"


def _days(names: list[str]) -> str:
    if len(names) == 1:
        return f"1 day, {names[0]}"
    return f"{len(names)} days, {names[0]} to {names[-1]}"
