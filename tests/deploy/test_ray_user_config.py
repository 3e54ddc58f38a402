"""What a replica of Ray Serve makes of a `user_config`, without Ray; `tests/ray_serve` runs Ray."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.ray_replica import Replica, asked
from support.toys import toy_bundle, toy_files, toy_manifest

from seatrial_contracts.bundle import write_bundle
from seatrial_contracts.errors import DeclarationError, Unavailable
from seatrial_contracts.manifest import Variant

WRONG: list[dict[str, Any]] = [
    {"labels": {"other": {"stable": "1.0.0"}}},
    {"variants": {"toy": {"default": 8}}},
    {"label": {}},
]


def variant(name: str) -> dict[str, Any]:
    return {"variants": {"toy": {"default": name}}}


def two_variants(folder: Path) -> dict[str, Any]:
    """The `args` of a toy of the variants `fp32` and `fp16`."""
    manifest = toy_manifest()
    fp16 = Variant(name="fp16", format="fake", graph="graphs/toy.fake", recipe="fp16")
    both = manifest.model_copy(update={"variants": (*manifest.variants, fp16)})
    write_bundle(folder, both, toy_files())
    return {"bundles": [str(folder)]}


async def served(client: httpx.AsyncClient) -> list[str]:
    """The variant of each version that takes traffic."""
    told = (await client.get("/v1/models/toy")).json()
    return [each["variant"] for each in told["versions"] if each["state"] == "READY"]


async def test_a_user_config_selects_a_variant_and_may_be_taken_away(
    replica: Replica, tmp_path: Path
) -> None:
    made = replica(two_variants(tmp_path / "bundles"))
    async with asked(made) as client:
        for name in ("fp16", "fp32", "fp16"):
            await made.select(variant(name))
            made.check_ready()
            assert await served(client) == [name]
        await made.select({})
        assert await served(client) == ["fp32"]


async def test_a_replica_that_starts_is_not_ready_as_another_variant(
    replica: Replica, tmp_path: Path
) -> None:
    made = replica(two_variants(tmp_path / "bundles"))
    async with asked(made) as client:
        await made.select(variant("int8"))
        with pytest.raises(Unavailable, match=r"toy 1\.0\.0: no variant 'int8' in this bundle"):
            made.check_ready()
        assert await served(client) == []


async def test_a_replica_at_work_goes_on_where_a_variant_is_not_there(
    replica: Replica, tmp_path: Path
) -> None:
    made = replica(two_variants(tmp_path / "bundles"))
    async with asked(made) as client:
        await made.select(variant("fp16"))
        made.check_ready()
        await made.select(variant("int8"))
        made.check_ready()
        assert await served(client) == ["fp16"]


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_user_config_ends_the_start_of_a_replica(
    wrong: dict[str, Any], replica: Replica, tmp_path: Path
) -> None:
    toy_bundle(tmp_path / "bundles")
    made = replica({"bundles": [str(tmp_path / "bundles")]})
    async with asked(made):
        with pytest.raises(DeclarationError):
            await made.select(wrong)


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_user_config_is_logged_by_a_replica_at_work(
    wrong: dict[str, Any], replica: Replica, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = replica(two_variants(tmp_path / "bundles"))
    async with asked(made) as client:
        await made.select(variant("fp16"))
        made.check_ready()
        with caplog.at_level(logging.ERROR):
            await made.select(wrong)
        assert "user_config not taken up, what was selected before goes on" in caplog.text
        assert await served(client) == ["fp16"]
