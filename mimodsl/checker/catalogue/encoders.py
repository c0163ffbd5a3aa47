"""What megatron-core does with encoders, projectors, their images and the way to the text."""

from typing import Final

from mimodsl.checker.catalogue.fact import Area, Fact, Handled, Impossible, ruled
from mimodsl.checker.rule import Cost

_DATA: Final = "tests/unit/runtime/test_data.py"
_ENCODERS: Final = "tests/unit/builder/test_encoders.py"
_HANDLED: Final = "tests/unit/builder/test_handled.py"
_IMAGES: Final = "tests/e2e/test_matrix_images.py"

ENCODERS: Final = Area(
    title="Encoders and projectors",
    facts=(
        Fact(
            at=("models/mimo/submodules/vision.py:41-49", "models/mimo/submodules/audio.py:38-46"),
            cost=Cost.RAISES,
            says="A modality has at most one projection in and one out.",
            ends=Impossible(
                "a flow has at most one projector (MIMO601)",
                f"{_HANDLED}::test_modules_reach_megatron_under_their_names",
            ),
        ),
        Fact(
            at=("models/mimo/submodules/base.py:211",),
            cost=Cost.LATE,
            says="Encoders of one modality are joined along tokens and need one width.",
            ends=Impossible(
                "a modality has one encoder",
                f"{_HANDLED}::test_modules_reach_megatron_under_their_names",
            ),
        ),
        Fact(
            at=("models/mimo/submodules/base.py:232",),
            cost=Cost.LATE,
            says="Every encoder is given inputs in every microbatch.",
            ends=ruled("MIMO608"),
        ),
        Fact(
            at=("models/mimo/submodules/base.py:248-254",),
            cost=Cost.LATE,
            says="What an encoder emits has two or three dimensions.",
            ends=Handled(
                "it has three",
                f"{_ENCODERS}::test_an_encoder_emits_what_its_kind_says",
            ),
        ),
        Fact(
            at=("models/mimo/submodules/base.py:322-337", "models/vision/radio.py:237"),
            cost=Cost.SILENT,
            says="In an encoder's pipeline, every stage but the first passes on what it is given: "
            "its layers never run.",
            ends=ruled("MIMO554"),
        ),
        Fact(
            at=("models/vision/radio.py:109-110", "models/vision/clip_vit_model.py:76-77"),
            cost=Cost.RAISES,
            says="The sides of images divide by the side of a patch.",
            ends=ruled("MIMO551"),
        ),
        Fact(
            at=("models/vision/radio.py:428", "models/vision/clip_vit_model.py:189"),
            cost=Cost.LATE,
            says="Images have as many patches as the encoder was built for.",
            ends=Handled(
                "the synthetic images have the spec's size; others are refused in plain words",
                f"{_ENCODERS}::test_images_of_the_wrong_size_are_refused",
            ),
        ),
        Fact(
            at=("models/vision/radio.py:406", "models/vision/radio.py:389"),
            cost=Cost.SILENT,
            says="With dynamic resolution, the tokens of an image are counted as h // p · w // p "
            "from left to right, which is another number where the width has a remainder.",
            ends=ruled("MIMO555"),
        ),
        Fact(
            at=("models/vision/radio.py:356", "models/vision/radio.py:357"),
            cost=Cost.LATE,
            says="Temporal patches need frame counts and dynamic resolution, and that needs image "
            "sizes and packed sequences.",
            ends=Impossible(
                "there are images of one size, and no word for frames (MIMO555)",
                f"{_ENCODERS}::test_images_of_different_sizes_are_refused",
            ),
        ),
        Fact(
            at=("models/vision/radio.py:117", "models/vision/radio.py:692"),
            cost=Cost.LATE,
            says="Position embeddings of less than a patch are built and cannot be stretched.",
            ends=ruled("MIMO557"),
        ),
        Fact(
            at=("models/vision/radio.py:679-693",),
            cost=Cost.SILENT,
            says="Position embeddings are stretched to whatever image comes, also a larger one.",
            ends=ruled("MIMO556"),
        ),
        Fact(
            at=("models/vision/radio.py:635-640",),
            cost=Cost.SILENT,
            says="In training, RADIO crops its position embeddings at random, by each rank's own "
            "draws: the same images give other tokens in another layout.",
            ends=Handled(
                "the crops are off",
                f"{_ENCODERS}::test_training_draws_nothing",
            ),
        ),
        Fact(
            at=("models/vision/multimodal_projector.py:65",),
            cost=Cost.RAISES,
            says="A projector is an MLP or affine.",
            ends=Impossible(
                "these are the kinds",
                f"{_ENCODERS}::test_a_modality_is_as_wide_as_the_language_model",
            ),
        ),
        Fact(
            at=("extensions/transformer_engine.py:1156", "extensions/transformer_engine.py:1413"),
            cost=Cost.RAISES,
            says="An affine projector gathers its output, which linears of Transformer Engine "
            "refuse.",
            ends=Handled(
                "its linear is megatron-core's own with either kernels",
                f"{_HANDLED}::test_an_affine_projector_gathers_with_either_kernels",
            ),
        ),
        Fact(
            at=("models/vision/clip_vit_model.py:59-63", "models/vision/clip_vit_model.py:113"),
            cost=Cost.RAISES,
            says="Kinds of ViT other than CLIP's have rules of their own for class tokens.",
            ends=Impossible(
                "`vit` is CLIP's",
                f"{_ENCODERS}::test_an_encoder_emits_what_its_kind_says",
            ),
        ),
    ),
)

TOKENS: Final = Area(
    title="Images among the text",
    facts=(
        Fact(
            at=("models/mimo/model/base.py:198",),
            cost=Cost.LATE,
            says="Every modality needs a placeholder.",
            ends=ruled("MIMO204"),
        ),
        Fact(
            at=("models/mimo/model/base.py:193-196",),
            cost=Cost.LATE,
            says="Nothing sees that placeholders differ: two modalities with one each claim all "
            "of its places.",
            ends=ruled("MIMO606"),
        ),
        Fact(
            at=("models/mimo/model/base.py:364", "tensor_parallel/cross_entropy.py:45"),
            cost=Cost.SILENT,
            says="Nothing sees that a placeholder lies in the vocabulary; as a label beyond it, it "
            "is masked or read out of bounds.",
            ends=ruled("MIMO607"),
        ),
        Fact(
            at=("models/mimo/model/base.py:200-205",),
            cost=Cost.LATE,
            says="A sample has as many placeholders as its images have tokens.",
            ends=ruled("MIMO612"),
        ),
        Fact(
            at=("models/mimo/model/base.py:200-205",),
            cost=Cost.LATE,
            says="How many that are follows from patches, pixel shuffle and class tokens.",
            ends=Handled(
                "the count of the plan, of the data and of the encoder is one",
                f"{_ENCODERS}::test_an_encoder_emits_what_its_kind_says",
            ),
        ),
        Fact(
            at=("models/mimo/model/base.py:207-208",),
            cost=Cost.SILENT,
            says="Embeddings of another width than the text's are scattered number by number, over "
            "the edge of one token into the next.",
            ends=ruled("MIMO611"),
        ),
        Fact(
            at=(
                "models/common/embeddings/language_model_embedding.py:135",
                "models/mimo/model/base.py:207",
            ),
            cost=Cost.LATE,
            says="An fp32 residual stream makes text embeddings fp32; images of another precision "
            "cannot be put among them.",
            ends=ruled("MIMO625"),
        ),
        Fact(
            at=(
                "models/mimo/model/base.py:392",
                "models/common/embeddings/language_model_embedding.py:113",
            ),
            cost=Cost.SILENT,
            says="Learned positions are added to embedded text, and images get none.",
            ends=ruled("MIMO613"),
        ),
        Fact(
            at=("models/mimo/model/base.py:552-558",),
            cost=Cost.LATE,
            says="Where several encoder replicas feed one of the language model, every sample has "
            "as many image tokens.",
            ends=Handled(
                "such a microbatch is refused by each rank that sees it, before any message",
                f"{_IMAGES}::test_fan_in_of_different_numbers_is_refused_before_anything_hangs",
            ),
        ),
        Fact(
            at=("models/mimo/model/base.py:502-511",),
            cost=Cost.HANGS,
            says="A rank without images has nothing to send, and sends an empty tensor only where "
            "no placeholder waits.",
            ends=Handled(
                "every replica has samples (MIMO624), and one without images takes part",
                f"{_IMAGES}::test_a_microbatch_may_show_no_image",
            ),
        ),
        Fact(
            at=("models/mimo/model/base.py:498-500",),
            cost=Cost.SILENT,
            says="Encoder and language model are fed by whoever feeds them: nothing sees that "
            "images and text belong to the same samples.",
            ends=Handled(
                "both sides deal the same global batch in the same order",
                f"{_DATA}::test_layouts_see_the_same_global_batch",
            ),
        ),
        Fact(
            at=(
                "models/mimo/comm/colocated_communicator.py:167",
                "models/mimo/comm/colocated_communicator.py:225",
            ),
            cost=Cost.SILENT,
            says="A bridge on shared ranks never moves images to another replica: grids whose dp "
            "runs over ranks differently mix samples up.",
            ends=ruled("MIMO626"),
        ),
    ),
)
