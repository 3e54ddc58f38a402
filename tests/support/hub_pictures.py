"""Folders as hubs have them: small seeded models of pictures, with their image processors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BitImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessorPil,
    ConvNextConfig,
    ConvNextImageProcessorPil,
    DeiTConfig,
    DeiTImageProcessorPil,
    DepthAnythingConfig,
    DetrConfig,
    DetrImageProcessorPil,
    DFineConfig,
    Dinov2Config,
    DPTConfig,
    DPTImageProcessorPil,
    EfficientNetConfig,
    EfficientNetImageProcessorPil,
    MobileNetV2Config,
    MobileNetV2ImageProcessorPil,
    PreTrainedTokenizerFast,
    ResNetConfig,
    RTDetrConfig,
    RTDetrImageProcessorPil,
    RTDetrResNetConfig,
    RTDetrV2Config,
    SegformerConfig,
    SegformerImageProcessorPil,
    SiglipConfig,
    SiglipImageProcessorPil,
    SwinConfig,
    ViTConfig,
    ViTImageProcessorPil,
    YolosConfig,
    YolosImageProcessorPil,
)

from support.hub_folders import word_pieces

SIDE = 32
SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "image_size": SIDE, "patch_size": 8, "initializer_range": 0.2,
}  # fmt: skip
SQUARE = {"height": SIDE, "width": SIDE}


TOWER = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip
TRANSFORMER = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
}  # fmt: skip


def backbone(stages: list[str]) -> ResNetConfig:
    """A small ResNet that gives these stages."""
    return ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 1, 1], out_features=stages
    )


REAL_TIME = {
    "encoder_hidden_dim": 32, "encoder_in_channels": [24, 32, 40], "encoder_ffn_dim": 64,
    "encoder_attention_heads": 2, "d_model": 32, "num_queries": 6, "decoder_layers": 2,
    "decoder_in_channels": [32, 32, 32], "decoder_ffn_dim": 64, "decoder_attention_heads": 2,
    "hidden_expansion": 0.5, "num_denoising": 0, "eval_size": None, "initializer_range": 0.3,
}  # fmt: skip
"""Of RT-DETR and what was made of it."""


def three_stages() -> RTDetrResNetConfig:
    """A small ResNet as RT-DETR has it."""
    return RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 2, 1],
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip


ANYTHING = {
    "patch_size": 8, "neck_hidden_sizes": [8, 16, 24, 32], "fusion_hidden_size": 16,
    "reassemble_hidden_size": 32, "head_hidden_size": 8, "initializer_range": 0.2,
}  # fmt: skip


def dino() -> Dinov2Config:
    """A small DINOv2 of four stages, whose position embeddings are those of 64 x 64 pixels."""
    return Dinov2Config(
        **SMALL | {"num_hidden_layers": 4, "image_size": 64}, out_indices=[1, 2, 3, 4],
        apply_layernorm=True, reshape_hidden_states=False,
    )  # fmt: skip


def depth_anything(**named: Any) -> DepthAnythingConfig:
    """Depth Anything on a small DINOv2."""
    return DepthAnythingConfig(backbone_config=dino(), **named)


DENSE = SMALL | {
    "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3], "fusion_hidden_size": 16,
    "neck_hidden_sizes": [8, 16, 24, 32], "is_hybrid": False,
}  # fmt: skip


def one_side() -> DPTImageProcessorPil:
    """A processor that keeps the aspect: of a picture of 64 x 64 pixels both sides stay."""
    return DPTImageProcessorPil(
        size={"height": 64, "width": 64}, ensure_multiple_of=8, keep_aspect_ratio=True
    )


class Family(NamedTuple):
    """A small model of one family and its processor."""

    config: Callable[..., Any]
    options: dict[str, Any]
    processor: Callable[[], Any]


FAMILIES: dict[str, Family] = {
    "vit": Family(ViTConfig, SMALL, lambda: ViTImageProcessorPil(size=SQUARE)),
    "deit": Family(
        DeiTConfig,
        SMALL,
        lambda: DeiTImageProcessorPil(size={"height": 37, "width": 36}, crop_size=SQUARE),
    ),
    "swin": Family(
        SwinConfig,
        {"image_size": SIDE, "patch_size": 2, "embed_dim": 16, "depths": [2, 2],
         "num_heads": [2, 2], "window_size": 4, "initializer_range": 0.2},
        lambda: ViTImageProcessorPil(size=SQUARE, resample=3),
    ),
    "convnext": Family(
        ConvNextConfig,
        {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1], "initializer_range": 0.2,
         "layer_scale_init_value": 0.5},
        lambda: ConvNextImageProcessorPil(size={"shortest_edge": SIDE}),
    ),
    "dinov2": Family(
        Dinov2Config,
        SMALL,
        lambda: BitImageProcessorPil(size={"shortest_edge": 37}, crop_size=SQUARE),
    ),
    "mobilenet-v2": Family(
        MobileNetV2Config,
        {"image_size": SIDE, "depth_multiplier": 0.35, "initializer_range": 0.2},
        lambda: MobileNetV2ImageProcessorPil(size={"shortest_edge": 36}, crop_size=SQUARE),
    ),
    "resnet": Family(
        ResNetConfig,
        {"embedding_size": 8, "hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 2, 1]},
        lambda: ConvNextImageProcessorPil(size={"shortest_edge": SIDE}, crop_pct=0.875),
    ),
    "efficientnet": Family(
        EfficientNetConfig,
        {"image_size": SIDE, "width_coefficient": 0.25, "depth_coefficient": 0.3,
         "hidden_dim": 320, "dropout_rate": 0.0},
        lambda: EfficientNetImageProcessorPil(size=SQUARE, resample=0, rescale_offset=True),
    ),
    "detr": Family(
        lambda **named: DetrConfig(
            use_timm_backbone=False, backbone=None, backbone_config=backbone(["stage4"]), **named
        ),
        TRANSFORMER | {"num_queries": 6},
        lambda: DetrImageProcessorPil(size={"shortest_edge": 128, "longest_edge": 192}),
    ),
    "rt-detr": Family(
        lambda **named: RTDetrConfig(backbone_config=three_stages(), **named), REAL_TIME,
        lambda: RTDetrImageProcessorPil(size={"height": 64, "width": 64}),
    ),
    "rt-detr-v2": Family(
        lambda **named: RTDetrV2Config(backbone_config=three_stages(), **named), REAL_TIME,
        lambda: RTDetrImageProcessorPil(size={"height": 64, "width": 64}),
    ),
    "d-fine": Family(
        lambda **named: DFineConfig(backbone_config=three_stages(), **named), REAL_TIME,
        lambda: RTDetrImageProcessorPil(size={"height": 64, "width": 64}),
    ),
    "yolos": Family(
        YolosConfig,
        SMALL | {"image_size": [64, 48], "num_detection_tokens": 6},
        lambda: YolosImageProcessorPil(size={"height": 64, "width": 48}),
    ),
    "yolos, of its shorter side": Family(
        YolosConfig,
        SMALL | {"image_size": [64, 48], "num_detection_tokens": 6},
        lambda: YolosImageProcessorPil(size={"shortest_edge": 128, "longest_edge": 192}),
    ),
    "segformer": Family(
        SegformerConfig,
        {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "decoder_hidden_size": 16,
         "num_attention_heads": [1, 1, 2, 2], "initializer_range": 0.2},
        lambda: SegformerImageProcessorPil(size={"height": 64, "width": 64}),
    ),
    "dpt": Family(
        DPTConfig, DENSE, lambda: DPTImageProcessorPil(size=SQUARE, ensure_multiple_of=8),
    ),
    "dpt, of square pictures": Family(DPTConfig, DENSE, one_side),
    "depth-anything": Family(depth_anything, ANYTHING, one_side),
    "depth-anything, of one size": Family(
        depth_anything, ANYTHING, lambda: DPTImageProcessorPil(size=SQUARE, ensure_multiple_of=8)
    ),
    "clip": Family(
        lambda **named: CLIPConfig(
            text_config={**TOWER, "vocab_size": 400, "eos_token_id": 3, "bos_token_id": 2,
                         "pad_token_id": 0, "max_position_embeddings": 24},
            vision_config={**TOWER, "image_size": SIDE, "patch_size": 8}, **named,
        ),
        {"projection_dim": 16},
        lambda: CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=SQUARE),
    ),
    "siglip": Family(
        lambda **named: SiglipConfig(
            text_config={**TOWER, "vocab_size": 400, "max_position_embeddings": 24,
                         "projection_size": 32, "pad_token_id": 0},
            vision_config={**TOWER, "image_size": SIDE, "patch_size": 8}, **named,
        ),
        {},
        lambda: SiglipImageProcessorPil(size=SQUARE),
    ),
}  # fmt: skip
"""Name -> config class, a small config's options, and processor."""


def make_picture_folder(
    folder: Path, family: str, head: Any, labels: tuple[str, ...] = (), **options: Any
) -> Path:
    """A folder of this family with this head, whose weights come from a seed."""
    make_config, small, processor = FAMILIES[family]
    named = {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: place for place, label in enumerate(labels)},
    }
    config = make_config(**small | (named if labels else {}) | options)
    config.architectures = []
    torch.manual_seed(0)
    model = head.from_config(config)
    stir(model)
    model.save_pretrained(folder)
    processor().save_pretrained(folder)
    if family in ("clip", "siglip"):
        texts(family).save_pretrained(folder)
    return folder


def texts(family: str) -> Any:
    """A tokenizer of a two-tower model: texts end by a token of their own."""
    made = Tokenizer(models.WordPiece(dict(word_pieces()), unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    single = "[CLS] $A [SEP]" if family == "clip" else "$A [SEP]"
    special = [(word, word_pieces()[word]) for word in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]",
        sep_token="[SEP]", eos_token="[SEP]", model_max_length=24,
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def stir(model: torch.nn.Module) -> None:
    """Biases and running statistics other than 0 and 1, which would hide that they are left out."""
    with torch.no_grad():
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith(("bias", "running_mean")):
                value.normal_(0, 0.1)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif "class_labels_classifier" in name:  # so that detectors are sure of some things
                value.mul_(4)
