"""Non-maximum suppression in a model's forward, as one operator that ONNX knows by itself."""

from __future__ import annotations

import torch
from torch import Tensor


def suppress(boxes: Tensor, scores: Tensor, iou: float = 0.5, score: float = 0.0) -> Tensor:
    """Set the scores of boxes to 0 that overlap a box of the same class and a higher score.

    `boxes` are left, top, right, bottom, float32, `(batch, n, 4)`; `scores` are float32,
    `(batch, n, classes)`, or `(batch, n)` where boxes of all classes suppress each other. The
    result has the shape of `scores`, so that rows stay independent and shapes fixed. A box goes
    where its overlap (intersection over union) is above `iou`, and a score goes that is not above
    `score`. Of equal scores, the first box stays. The rule is that of ONNX's NonMaxSuppression
    (operator set 11), which the sealed graph holds.

    Raises `ValueError` where shapes, types or thresholds do not fit.
    """
    if boxes.dim() != 3 or boxes.shape[2] != 4 or scores.dim() not in (2, 3):
        raise ValueError(
            f"st.suppress: got boxes of shape {list(boxes.shape)} and scores of shape "
            f"{list(scores.shape)}, want (batch, n, 4) and (batch, n, classes) or (batch, n)"
        )
    if boxes.dtype != torch.float32 or scores.dtype != torch.float32:
        raise ValueError(f"st.suppress: got {boxes.dtype} and {scores.dtype}, want float32")
    if not 0 <= iou <= 1:
        raise ValueError(f"st.suppress: got iou {iou}, want 0 to 1")
    by_class = scores.unsqueeze(1) if scores.dim() == 2 else scores.transpose(1, 2)
    stays = torch.ops.seatrial.stays(boxes, by_class, iou, score)
    stays = stays.squeeze(1) if scores.dim() == 2 else stays.transpose(1, 2)
    # NaN and infinities become NaN, so that a faulty answer is seen.
    return torch.where(stays, scores, scores * 0)


@torch.library.custom_op("seatrial::stays", mutates_args=())
def stays(boxes: Tensor, scores: Tensor, iou: float, score: float) -> Tensor:
    """Which boxes stay, for each class: bool, of the shape of `scores`, `(batch, classes, n)`."""
    found = torch.zeros_like(scores, dtype=torch.bool)
    for box, by_class, row in zip(boxes, scores, found, strict=True):
        for of_class, own in zip(by_class, row, strict=True):
            order = of_class.argsort(descending=True, stable=True)
            order = order[of_class[order] > score]
            while len(order):
                first, order = order[0], order[1:]
                own[first] = True
                order = order[~(overlap(box[first], box[order]) > iou)]
    return found


@stays.register_fake
def _(
    boxes: Tensor,  # noqa: ARG001  (the operator's own arguments, of which the shape needs one)
    scores: Tensor,
    iou: float,  # noqa: ARG001  (as above)
    score: float,  # noqa: ARG001  (as above)
) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def overlap(box: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of one box and others, 0 where a box has no area."""
    # Any two corners that lie opposite each other make a box, as in ONNX.
    corners = [(each[:, :2], each[:, 2:]) for each in (box.unsqueeze(0), others)]
    least = [torch.minimum(*pair) for pair in corners]
    most = [torch.maximum(*pair) for pair in corners]
    shared = (torch.minimum(*most) - torch.maximum(*least)).clamp(min=0).prod(1)
    areas = [(far - near).prod(1) for near, far in zip(least, most, strict=True)]
    union = areas[0] + areas[1] - shared
    is_there = (shared > 0) & (areas[0] > 0) & (areas[1] > 0) & (union > 0)
    return torch.where(is_there, shared / union, torch.zeros_like(union))
