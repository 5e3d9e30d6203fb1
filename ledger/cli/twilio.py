"""``consent-ledger twilio``: set Twilio up, and see that every STOP would arrive."""

import asyncio
import sys
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from ledger.cli.setup import AsJson, read_settings
from ledger.errors import InvalidRequest
from ledger.settings import Settings
from ledger.twilio.account import open_account
from ledger.twilio.checks import Finding, Registered
from ledger.twilio.connect import Plan, addresses, apply, look
from ledger.twilio.doctor import Diagnosis, diagnose
from ledger.twilio.receivers import Addresses, Kind, Value, shown

twilio_app = typer.Typer(
    no_args_is_help=True,
    help="Set Twilio up, and see that every STOP would arrive.",
)


@twilio_app.command("connect")
def twilio_connect(  # noqa: PLR0913 - the options of the command
    number: Annotated[
        str | None, typer.Option(metavar="PN…", help="A number, by its SID.")
    ] = None,
    service: Annotated[
        str | None, typer.Option(metavar="MG…", help="A Messaging Service, by its SID.")
    ] = None,
    account: Annotated[
        str | None,
        typer.Option(metavar="AC…", help="Whose; TWILIO_ACCOUNT_SID unless given."),
    ] = None,
    fallback_url: Annotated[
        str | None, typer.Option(help="Another way to this ledger, with its own host.")
    ] = None,
    status_callback: Annotated[
        str | None, typer.Option(help="Where a service reports delivery; else to us.")
    ] = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and stop.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let a number or a service send its texts here; again, it changes nothing."""
    kind, sid = _named(number, service, status_callback)
    settings = read_settings()
    wanted = addresses(settings, fallback_url, status_callback)
    plan = asyncio.run(_look(settings, account, kind, sid, wanted))
    is_asking = bool(plan.changes) and not (yes or dry_run)
    if is_asking and (as_json or not sys.stdin.isatty()):
        raise InvalidRequest("there is nobody to ask: give --yes, or --dry-run")
    if not as_json:
        _print_plan(plan, is_dry=dry_run)
    if is_asking:
        typer.confirm("Change this at Twilio?", abort=True)
    is_changed = bool(plan.changes) and not dry_run
    if is_changed:
        asyncio.run(_apply(settings, account, plan, wanted))
    if as_json:
        _print_json(_plan_json(plan, is_changed=is_changed))
    elif is_changed:
        typer.echo("changed, and Twilio shows it so")


@twilio_app.command("doctor")
def twilio_doctor(*, as_json: AsJson = False) -> None:
    """Check credentials, URL, signature and every number; exit 1 if one is wrong."""
    diagnosis = asyncio.run(diagnose(read_settings()))
    if as_json:
        _print_json(_diagnosis_json(diagnosis))
    else:
        _print_diagnosis(diagnosis)
    if not diagnosis.is_well:
        raise typer.Exit(1)


def _named(
    number: str | None, service: str | None, status_callback: str | None
) -> tuple[Kind, str]:
    """Which receiver is meant."""
    if (number is None) == (service is None):
        raise InvalidRequest("give --number PN… or --service MG…, one of the two")
    if service is not None:
        return "service", service
    if status_callback is not None:
        raise InvalidRequest(
            "--status-callback is for a service: that of a number is for calls, and "
            "texts name their own when they are sent"
        )
    return "number", number or ""


async def _look(
    settings: Settings, account: str | None, kind: Kind, sid: str, wanted: Addresses
) -> Plan:
    async with open_account(settings, account) as opened:
        return await look(opened, kind, sid, wanted)


async def _apply(
    settings: Settings, account: str | None, plan: Plan, wanted: Addresses
) -> None:
    async with open_account(settings, account) as opened:
        await apply(opened, plan, wanted)


def _print_plan(plan: Plan, *, is_dry: bool) -> None:
    receiver = plan.receiver
    typer.echo(f"{receiver.kind} {receiver.sid} ({receiver.name})")
    for name, before in receiver.fields.items():
        if name not in plan.changes:
            typer.echo(f"  {name}: {_value(before)}")
            continue
        typer.echo(f"- {name}: {_value(before)}")
        typer.echo(f"+ {name}: {_value(plan.changes[name])}")
    for warning in plan.warnings:
        typer.echo(f"! {warning}")
    if not plan.changes:
        typer.echo("nothing to change")
    elif is_dry:
        typer.echo(f"{len(plan.changes)} fields would change")


def _plan_json(plan: Plan, *, is_changed: bool) -> dict[str, Any]:
    before = {name: shown(value) for name, value in plan.receiver.fields.items()}
    after = before | {name: shown(value) for name, value in plan.changes.items()}
    return {
        "kind": plan.receiver.kind,
        "sid": plan.receiver.sid,
        "name": plan.receiver.name,
        "before": before,
        "after": after,
        "changes": list(plan.changes),
        "changed": is_changed,
        "warnings": plan.warnings,
    }


def _print_diagnosis(diagnosis: Diagnosis) -> None:
    # Without a border: the sentences are long, and people copy commands from them.
    for finding in diagnosis.findings:
        typer.echo(f"{finding.verdict:8} {finding.check}, {finding.about}: ", nl=False)
        typer.echo(finding.found)
        if finding.advice:
            typer.echo(f"{'':8} -> {finding.advice}")
    table = Table("receiver", "name", "service", "texts go", "URL")
    for each in diagnosis.registered:
        table.add_row(
            each.receiver.sid,
            each.receiver.name,
            each.service_sid or "",
            each.target,
            each.url,
        )
    if diagnosis.registered:
        Console().print(table)


def _diagnosis_json(diagnosis: Diagnosis) -> dict[str, Any]:
    return {
        "well": diagnosis.is_well,
        "findings": [_finding_json(finding) for finding in diagnosis.findings],
        "receivers": [_registered_json(each) for each in diagnosis.registered],
    }


def _finding_json(finding: Finding) -> dict[str, str]:
    return {
        "check": finding.check,
        "about": finding.about,
        "verdict": finding.verdict,
        "found": finding.found,
        "advice": finding.advice,
    }


def _registered_json(each: Registered) -> dict[str, str | None]:
    return {
        "kind": each.receiver.kind,
        "sid": each.receiver.sid,
        "name": each.receiver.name,
        "service": each.service_sid,
        "target": each.target,
        "url": each.url,
        "fallbackUrl": shown(each.receiver.fallback_url),
    }


def _value(value: Value) -> str:
    return shown(value) or "(none)"


def _print_json(value: object) -> None:
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
