"""Boxes, masks and pictures: sealed by the gate, served, and asked over HTTP and gRPC."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Annotated

import httpx
import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from support import browsers
from support.pictures import encoded
from support.servers import Server
from torch import Tensor, nn

import seatrial as st
from seatrial_contracts.bundle import Bundle
from seatrial_contracts.errors import GateError
from seatrial_export.export import export_pipeline
from seatrial_export.formats import torchscript
from seatrial_export.gate.torch_candidate import TorchCandidate
from seatrial_parity.runners.runner import TrialRequest
from seatrial_parity.trial import try_bundle

pytestmark = pytest.mark.slow

CELLS = 4 * 6


class Photo(st.Row):
    photo: Annotated[bytes, st.Image(formats=("PNG",), size_px=(32, 48), fit="letterbox")]


class Seen(st.Answer):
    things: Annotated[
        list,
        st.Detections(
            "a", "b", on="photo", candidates=CELLS, boxes="cxcywh", threshold=0.3, masks=(16, 24),
            mask_threshold=0.0, mask_encoding="rle", keypoints=("top", "tail"),
        ),
    ]  # fmt: skip
    mask: Annotated[dict, st.Mask("sky", "sea", on="photo", logits=True, grid_px=(16, 24))]
    depth: Annotated[dict, st.Picture(on="photo", bits=16, grid_px=(16, 24))]


class Net(nn.Module):
    """Seeded: a box for each 8 x 8 pixels, a class and a depth for each 2 x 2."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(2, 8), nn.ReLU())
        self.grid, self.boxes = nn.Conv2d(8, 3, 1), nn.Conv2d(8, 6, 4, 4)
        y, x = torch.meshgrid(torch.arange(4), torch.arange(6), indexing="ij")
        self.parts = nn.Conv2d(8, 4, 4, 4)
        self.register_buffer("centres", torch.stack([x, y], -1).reshape(1, CELLS, 2) * 8 + 4.0)

    def forward(self, photo: Tensor) -> dict[str, Tensor]:
        seen = self.body(photo.permute(0, 3, 1, 2).float() / 255)
        grid, cells = self.grid(seen), self.boxes(seen).flatten(2).transpose(1, 2)
        size = 16 * torch.sigmoid(cells[..., :2]) + 4
        place = self.centres + 8 * torch.tanh(cells[..., 2:4])
        corners = torch.cat([place - size / 2, place + size / 2], 2)
        parts = self.parts(seen).flatten(2).transpose(1, 2)
        # A mask for each box: the shared grid, nearer its place.
        y, x = torch.meshgrid(torch.arange(16) * 2.0, torch.arange(24) * 2.0, indexing="ij")
        apart = (x - place[..., :1, None]).abs() + (y - place[..., 1:, None]).abs()
        scores = st.suppress(corners, torch.sigmoid(2 * cells[..., 4:]), iou=0.3)
        return {
            "things_boxes": torch.cat([place, size], 2),
            "things_scores": scores,
            "things_masks": 8 - apart + grid[:, :1] * 3,
            "things_keypoints": place[:, :, None] + 9 * parts.unflatten(2, (2, 2)),
            "mask": grid[:, :2],
            "depth": torch.sigmoid(grid[:, 2]),
        }


def pipeline() -> st.Pipeline:
    random = np.random.default_rng(1)
    sizes = ((96, 64), (40, 90), (48, 32), (7, 5))
    files = [
        encoded(Pillow.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)))
        for width, height in sizes
    ]
    rows = [{"photo": data} for data in files]
    return st.Pipeline(
        name="seen", version="1.0.0", inputs=Photo, outputs=Seen, model=Net().eval(), golden=rows,
        reference=rows,
    )  # fmt: skip


Served = tuple[st.Pipeline, Bundle, Server]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Server]) -> Served:
    folder, declared = tmp_path_factory.mktemp("seen"), pipeline()
    bundle = export_pipeline(declared, folder)
    server = serve(folder)
    assert server.wait_until_loaded()[0] == 200
    return declared, bundle, server


def test_boxes_masks_and_pictures_agree_by_every_way(served: Served) -> None:
    declared, bundle, server = served
    answers = [len(bundle.golden.answers), *bundle.golden.answers[0]]
    assert answers[0] == 4
    assert answers[1:] == [
        "things_boxes", "things_scores", "things_masks", "things_keypoints", "mask", "depth",
    ]  # fmt: skip
    scores = np.array([answer["things_scores"] for answer in bundle.golden.answers])
    assert 0.1 < (scores == 0).mean() < 0.9, "nothing is suppressed, or all"
    receipt = try_bundle(TrialRequest(bundle, declared, server.url, server.grpc))
    assert [trial.finding for trial in receipt.trials if not trial.passed] == []
    runners = {trial.runner for trial in receipt.trials}
    assert {"pytorch", "onnxruntime", "http v1", "v2 binary", "grpc"} <= runners


@browsers.NEEDED
def test_the_console_shows_boxes_and_masks_over_the_picture_that_was_sent(served: Served) -> None:
    _, bundle, server = served
    file = base64.b64decode(bundle.golden.rows[0]["photo"])
    [answer] = httpx.post(
        f"{server.url}/v1/models/seen:predict", content=file, headers={"Content-Type": "image/png"}
    ).json()["predictions"]
    with browsers.started() as browser, browsers.opening(browser) as opened:
        page = opened(server.url, "seen")
        sent = {"name": "a.png", "mimeType": "image/png", "buffer": file}
        page.set_input_files(".drop input[type=file]", sent)
        page.get_by_role("button", name="Predict").click()
        page.locator(".layers canvas").last.wait_for()
        output = page.locator(".output").filter(has=page.locator("canvas")).last
        told = output.locator(".score").all_text_contents()
        boxes = page.locator(".box").all()
        left = [box.evaluate("box => parseFloat(box.style.left)") for box in boxes]
        width = page.locator(".layers canvas").last.get_attribute("width")
        dots = page.locator(".point").count()
    assert width == "96"
    in_picture = [
        0 <= point["x"] <= 96 and 0 <= point["y"] <= 64
        for thing in answer["things"] for point in thing["keypoints"]
    ]  # fmt: skip
    assert dots == sum(in_picture) > 0
    assert [96 * share / 100 for share in left[::-1]] == pytest.approx(
        [thing["box"]["xmin"] for thing in answer["things"]], abs=1e-3
    )
    ids = np.asarray(Pillow.open(io.BytesIO(base64.b64decode(answer["mask"]["png"]))))
    ordered = sorted(np.bincount(ids.ravel(), minlength=2) / ids.size, reverse=True)
    assert [float(each.removesuffix(" %")) for each in told] == pytest.approx(
        [100 * share for share in ordered if share], abs=0.06
    )


def test_torchscript_of_a_model_that_suppresses_is_refused_by_name() -> None:
    with pytest.raises(GateError, match="operators of seatrial, which a server does not know"):
        torchscript.make(TorchCandidate(pipeline()))
