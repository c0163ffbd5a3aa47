"""What megatron-core does with schedules, losses, gradients, optimizers and checkpoints."""

from typing import Final

from mimodsl.checker.catalogue.fact import Area, Fact, Handled, Impossible, ruled
from mimodsl.checker.rule import Cost

_CONFIGS: Final = "tests/unit/builder/test_configs.py"
_HANDLED: Final = "tests/unit/builder/test_handled.py"
_PARITY: Final = "tests/e2e/test_matrix.py::test_a_layout_trains_as_one_rank"
_AGREE: Final = f"{_CONFIGS}::test_all_modules_agree_where_they_must"
_OFF: Final = f"{_HANDLED}::test_what_the_language_cannot_ask_for_is_off"

SCHEDULES: Final = Area(
    title="Schedules",
    facts=(
        Fact(
            at=("pipeline_parallel/schedules.py:149",),
            cost=Cost.WASTE,
            says="Several modules are always run 1F1B, whatever was asked for.",
            ends=ruled("MIMO701"),
        ),
        Fact(
            at=("pipeline_parallel/schedules.py:2143", "pipeline_parallel/schedules.py:723"),
            cost=Cost.LATE,
            says="A rank runs one chunk of the model: there are no virtual stages.",
            ends=Impossible("there is no word for them", _OFF),
        ),
        Fact(
            at=("pipeline_parallel/schedules.py:2154", "model_parallel_config.py:571"),
            cost=Cost.LATE,
            says="Communication between stages does not overlap with computation.",
            ends=Handled("it is off in every config", _AGREE),
        ),
        Fact(
            at=("pipeline_parallel/schedules.py:2182",),
            cost=Cost.LATE,
            says="Several modules need sequences of varying length.",
            ends=Handled("they are on in every config", _AGREE),
        ),
        Fact(
            at=("pipeline_parallel/schedules.py:2206", "pipeline_parallel/schedules.py:2201"),
            cost=Cost.LATE,
            says="A communicator and its groups are given together.",
            ends=Handled("they are, or neither where every rank runs the whole model", _PARITY),
        ),
        Fact(
            at=("pipeline_parallel/p2p_communication.py:235-255",),
            cost=Cost.HANGS,
            says="With sequences of varying length, exchanges in batches can hang from four stages "
            "on.",
            ends=Handled("batches are off in every config", _AGREE),
        ),
        Fact(
            at=("pipeline_parallel/schedules.py:208-216",),
            cost=Cost.LATE,
            says="Outputs that are freed once sent have to be no views of other tensors.",
            ends=Handled("they are kept", _AGREE),
        ),
        Fact(
            at=("model_parallel_config.py:527-529",),
            cost=Cost.RAISES,
            says="A pipeline needs the precision of what it passes on.",
            ends=Handled("it is that of the weights", _AGREE),
        ),
        Fact(
            at=("pipeline_parallel/schedules.py:745",),
            cost=Cost.LATE,
            says="The schedule without a pipeline asks the model for its type, which a MimoModel "
            "does not say.",
            ends=Handled("ours does", _PARITY),
        ),
    ),
)

GRADIENTS: Final = Area(
    title="Losses and gradients",
    facts=(
        Fact(
            at=(
                "distributed/distributed_data_parallel.py:179-185",
                "pipeline_parallel/schedules.py:331",
            ),
            cost=Cost.SILENT,
            says="Each module's config says for itself whether losses are counted by token; where "
            "they differ, encoder and language gradients are scaled differently.",
            ends=Handled("all say yes, whatever `loss_per` is", _AGREE),
        ),
        Fact(
            at=("distributed/finalize_model_grads.py:684-696",),
            cost=Cost.SILENT,
            says="Gradients are divided by the tokens of a module's own ranks: an encoder's come "
            "out wrong by the ratio of the dp sizes.",
            ends=Handled(
                "the loss's weights are summed once over the world, and divide every module's "
                "gradients",
                _PARITY,
            ),
        ),
        Fact(
            at=("distributed/finalize_model_grads.py:578",),
            cost=Cost.LATE,
            says="Gradients of several modules are not finished in one go.",
            ends=Handled("each module's are, over its own groups", _PARITY),
        ),
        Fact(
            at=("distributed/distributed_data_parallel.py:71-72",),
            cost=Cost.WASTE,
            says="A bucket size is forgotten unless gradients are reduced during backward passes.",
            ends=ruled("MIMO527"),
        ),
        Fact(
            at=("distributed/distributed_data_parallel_config.py:254-271",),
            cost=Cost.RAISES,
            says="DDP's knobs for fp8 and for numbers of buckets exclude others.",
            ends=Impossible(
                "there is no word for them",
                f"{_HANDLED}::test_ddp_sums_and_has_one_optimizer_instance",
            ),
        ),
        Fact(
            at=("transformer/transformer_block.py:593", "models/vision/multimodal_projector.py:88"),
            cost=Cost.LATE,
            says="Where all before it is frozen, a module's input needs a gradient all the same.",
            ends=Handled(
                "a frozen encoder's projector trains, and a frozen language model passes "
                "gradients on",
                "tests/e2e/test_training.py::"
                "test_a_frozen_module_keeps_its_weights_and_passes_gradients",
            ),
        ),
        Fact(
            at=("distributed/distributed_data_parallel.py:114-116",),
            cost=Cost.WASTE,
            says="Nothing sees that every parameter is frozen: a step then computes nothing.",
            ends=ruled("MIMO721"),
        ),
    ),
)

OPTIMIZERS: Final = Area(
    title="Precision, optimizers and checkpoints",
    facts=(
        Fact(
            at=("models/mimo/optimizer.py:390",),
            cost=Cost.RAISES,
            says="Modules have one instance of the distributed optimizer.",
            ends=Impossible(
                "there is no word for more",
                f"{_HANDLED}::test_ddp_sums_and_has_one_optimizer_instance",
            ),
        ),
        Fact(
            at=("models/mimo/optimizer.py:352-362",),
            cost=Cost.SILENT,
            says="The optimizer's own collection has no expt_tp: biases of experts on later etp "
            "ranks are missing from the gradient norm.",
            ends=Handled("it is given the module's whole collection", _PARITY),
        ),
        Fact(
            at=("models/mimo/optimizer.py:133-135",),
            cost=Cost.SILENT,
            says="In fp16, each module's loss scale moves on its own, and the first one's is taken "
            "for all.",
            ends=ruled("MIMO722"),
        ),
        Fact(
            at=("transformer/transformer_config.py:1314",),
            cost=Cost.RAISES,
            says="A model is not in fp16 and bf16 at once.",
            ends=Impossible(
                "`precision` is one word",
                "tests/unit/lower/test_fields.py::test_a_field_that_is_refused",
            ),
        ),
        Fact(
            at=("fusions/fused_cross_entropy.py:82", "model_parallel_config.py:536-543"),
            cost=Cost.SILENT,
            says="The fused cross entropy rounds its gradients to bf16 in any precision; that of "
            "Transformer Engine has known faults.",
            ends=Handled(
                "models have neither: theirs is our own",
                "tests/unit/builder/test_loss.py::test_models_take_it",
            ),
        ),
        Fact(
            at=("optimizer/optimizer_config.py:425-436", "optimizer/optimizer_config.py:470-479"),
            cost=Cost.RAISES,
            says="Optimizer states of other precisions need options of Transformer Engine's Adam.",
            ends=Impossible(
                "states are fp32",
                f"{_HANDLED}::test_ddp_sums_and_has_one_optimizer_instance",
            ),
        ),
        Fact(
            at=("optimizer/__init__.py:770",),
            cost=Cost.RAISES,
            says="Optimizers other than Adam exclude fp16, or need packages.",
            ends=Impossible(
                "`adamw` is the optimizer",
                "tests/unit/lower/test_fields.py::test_a_field_that_is_refused",
            ),
        ),
        Fact(
            at=("optimizer_param_scheduler.py:160",),
            cost=Cost.RAISES,
            says="A warm-up is shorter than the steps in which the learning rate falls.",
            ends=ruled("MIMO723"),
        ),
        Fact(
            at=("optimizer_param_scheduler.py:151-152",),
            cost=Cost.RAISES,
            says="A learning rate starts and ends no higher than its largest.",
            ends=ruled("MIMO724"),
        ),
        Fact(
            at=("optimizer_param_scheduler.py:263",),
            cost=Cost.SILENT,
            says="A last phase that is longer than what the warm-up leaves starts with a leap.",
            ends=ruled("MIMO725"),
        ),
        Fact(
            at=("optimizer_param_scheduler.py:227", "optimizer/__init__.py:398"),
            cost=Cost.LATE,
            says="The scheduler reads the least learning rate from parameter groups, which hold "
            "nothing where the optimizer's config has none.",
            ends=Handled("it has", "tests/unit/builder/test_scheduler.py::test_a_learning_rate"),
        ),
        Fact(
            at=("models/mimo/optimizer.py:290", "models/mimo/optimizer.py:294-295"),
            cost=Cost.LATE,
            says="A checkpoint holds as many parameter groups as the run; what is missing on "
            "loading is left as it was, without a word.",
            ends=Handled(
                "a run that goes on says what it starts anew, and keeps to the curve in any layout",
                "tests/e2e/test_checkpoint_resume.py::"
                "test_another_layout_goes_on_with_the_curve_and_back",
            ),
        ),
        Fact(
            at=("models/mimo/submodules/base.py:84-92", "models/mimo/model/base.py:126-130"),
            cost=Cost.LATE,
            says="Saving a module asks parallel_state for groups unless its collection has dp_cp.",
            ends=Handled("it has, and weights pass between layouts", _PARITY),
        ),
    ),
)
