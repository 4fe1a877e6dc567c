"""Making the key that opens backups: the public half goes into `.env`, the private one does not."""

from collections.abc import Sequence
from pathlib import Path

from ops import age_keys, console, sheet, values
from ops.errors import OpsError, refusal
from ops.settings import Settings

__all__ = ["make", "show_sheet"]


def make(out: str, escrow: Sequence[str], *, rotate: bool) -> None:
    """Make a key, and have backups be encrypted for it and for the escrow keys.

    With `rotate` they take the place of those in BACKUP_RECIPIENTS. The private key is on the disk
    before `.env` names its public half: what is encrypted can be opened at every moment.
    """
    settings = Settings.load()
    others = understood(escrow)
    if settings.recipients and not rotate:
        raise refusal(
            "BACKUP_RECIPIENTS is set: backups have a key",
            "keep its private half; for a new one: invoke backup-key --rotate",
        )
    file = place(settings, out)
    check_unfinished(settings, file if out else None, others)
    # --- Looked at; what follows changes something ---
    public = age_keys.make(file)
    new = list(dict.fromkeys([public, *others]))
    recipients = ",".join(new)
    try:
        settings.keep({"BACKUP_RECIPIENTS": recipients})
    except OSError as error:
        raise OpsError(
            f"the key is in {file}, and .env cannot be written: {error.strerror}",
            f"put it there yourself: BACKUP_RECIPIENTS='{recipients}'",
        ) from error
    console.result(public)
    tell(settings, file, new)
    if Settings.load().backup_recipients != recipients:
        raise OpsError(
            "the environment has another BACKUP_RECIPIENTS, which wins over .env",
            "unset BACKUP_RECIPIENTS",
        )


def understood(escrow: Sequence[str]) -> list[str]:
    """Return further public keys as given by flags; what is none is refused, and not shown."""
    found = []
    for number, text in enumerate(escrow, 1):
        try:
            found += values.recipients(text).split(",")
        except ValueError as problem:
            raise refusal(
                f"--escrow (number {number}) {problem}",
                "let its owner print the public half: age-keygen -y FILE",
            ) from None
    return found


def place(settings: Settings, out: str) -> Path:
    """Return the file for a new private key; refuses one that would go where the key must not."""
    file = age_keys.named(out, "--out") if out else age_keys.new_file(settings)
    if file.resolve().is_relative_to(settings.root.resolve()):
        raise refusal(
            f"{file} is in this repository, which is committed and deployed",
            "name a file elsewhere: --out FILE",
        )
    return file


def check_unfinished(settings: Settings, named: Path | None, others: Sequence[str]) -> None:
    """Refuse where a key is that `.env` does not name: a run may have been cut off after it.

    Looked at is the file that was named, else the newest of the default ones. One that has got a
    passphrase since is none that was cut off, and nobody has to type it here.
    """
    files = [named] if named else age_keys.default_files(settings)[:1]
    for file in files:
        if not file.exists() or age_keys.locked(file):
            continue
        try:
            key = age_keys.read(file)
        except OpsError:
            raise age_keys.taken(file) from None
        if not key.opens(settings.recipients):
            recipients = ",".join(dict.fromkeys([*key.recipients, *others]))
            raise refusal(
                f"{file} holds a key that BACKUP_RECIPIENTS does not name; an earlier run made it",
                f"to use it, write into .env: BACKUP_RECIPIENTS='{recipients}'; "
                "for another: --out FILE",
            )
        if named:
            raise age_keys.taken(file)


def tell(settings: Settings, file: Path, recipients: Sequence[str]) -> None:
    """Say where the private key is, what it is for, and which keys are not among them any more."""
    console.say(f"the private key is in {file}, and nowhere else")
    console.say("who loses it loses every backup: put a copy into a password manager, or on paper")
    console.say("it belongs on no host; a restore asks for it")
    dropped = [each for each in settings.recipients if each not in recipients]
    if dropped:
        console.say(f"new backups no longer open with the keys of {', '.join(dropped)}")
        console.say("keep their private halves as long as there are backups made for them")
        console.say("hosts encrypt for the new key from their next deploy on")
    console.say("how to restore by hand, to print and keep with it: invoke backup-key --sheet")


def show_sheet(out: str, escrow: Sequence[str], *, rotate: bool) -> None:
    """Print the sheet for the present settings; `out` is where the private key is said to be."""
    if escrow or rotate:
        raise refusal(
            "--sheet makes no key, and --escrow and --rotate are for a new one",
            "make the key first, then: invoke backup-key --sheet",
        )
    settings = Settings.load()
    if not settings.backups_destination:
        raise refusal(
            "BACKUPS_DESTINATION is not set: the sheet has no place to name", "set it in .env"
        )
    settings.require_recipients()
    files = [age_keys.named(out, "--out")] if out else age_keys.default_files(settings)
    file = files[0] if files else age_keys.default_file(settings)
    console.result(sheet.render(settings, str(file)).rstrip("\n"))
