"""What is checked of a declaration before anything is sealed."""

from __future__ import annotations

from collections.abc import Sequence

from seatrial_contracts.bundle import Bundle
from seatrial_contracts.contract_changes import compare_contracts, may_replace
from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.golden import wire_row
from seatrial_contracts.promise import Promise
from seatrial_contracts.sample import check_samples
from seatrial_export.declaration import ModelDeclaration
from seatrial_export.variants import parse_recipes


def check_declared(
    declared: ModelDeclaration,
    since: Bundle | None = None,
    *,
    allow_breaking: bool = False,
    formats: Sequence[str] = (),
    fastest: Promise | None = None,
) -> None:
    """Check a declaration before the gate.

    The parts checked are samples, promise, rows that must be refused, variants, the budget of the
    fastest one, and the version before. Raises `DeclarationError`, and `Refusal` for a golden or
    held-out row that the contract refuses.
    """
    check_proof(declared)
    check_refusals(declared)
    parse_recipes(declared.variants, ["fp32", *formats])
    if fastest is not None:
        check_fastest(declared, fastest)
    _ = declared.encoded_golden, declared.encoded_held_out
    if since is not None:
        check_may_follow(since, declared, allow_breaking=allow_breaking)


def check_proof(declared: ModelDeclaration) -> None:
    """Check truths, slices and promise.

    Raises `DeclarationError` for a truth or slice that is none, and for a promise that no row can
    show to be kept.
    """
    check_samples(declared.golden_samples, declared.contract, f"{declared.noun} golden")
    check_samples(declared.held_out_samples, declared.contract, f"{declared.noun} held_out")
    if declared.promise is not None:
        declared.promise.check(declared.contract, truths=known_truths(declared))


def known_truths(declared: ModelDeclaration) -> set[str]:
    """The outputs whose truth some sample holds."""
    samples = (*declared.golden_samples, *declared.held_out_samples)
    return {name for sample in samples for name in sample.truth or {}}


def check_fastest(declared: ModelDeclaration, budget: Promise) -> None:
    """Raise `DeclarationError` for a budget that no row can show, or beside declared variants."""
    if declared.variants:
        raise DeclarationError(
            "--fastest",
            f"variants of the {declared.noun} too",
            "one of them",
            "leave variants out: --fastest makes and chooses them",
        )
    budget.check(declared.contract, truths=known_truths(declared))


def check_refusals(declared: ModelDeclaration) -> None:
    """Raise `DeclarationError` where a row that must be refused is not, or otherwise than said."""
    for place, refused in enumerate(declared.refused):
        code = declared.front.refusal_code(wire_row(refused.row))
        if code != refused.code:
            got = code or "a row that the contract takes"
            raise DeclarationError(
                f"{declared.noun} refused[{place}]",
                got,
                f"a row that is refused with {refused.code}",
            )


def check_may_follow(old: Bundle, declared: ModelDeclaration, *, allow_breaking: bool) -> None:
    """Check that the model may follow the version before.

    Raises `DeclarationError` where the old bundle is of another model, or the new model breaks
    clients under the same major version.
    """
    if old.name != declared.name:
        raise DeclarationError(
            "the version before", f"bundle '{old.name}'", f"one of '{declared.name}'"
        )
    differences = compare_contracts(old.contract, declared.contract)
    if not allow_breaking and not may_replace(old.version, declared.version, differences):
        want = "a higher major version, or what clients rely on kept"
        raise DeclarationError(
            f"version {declared.version} after {old.version}",
            f"a breaking change, {differences[0]}",
            want,
            "or pass --allow-breaking",
        )
