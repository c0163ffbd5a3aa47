"""What megatron-core does with grids, process groups and the placement of modules."""

from typing import Final

from mimodsl.checker.catalogue.fact import Area, Fact, Handled, Impossible, Limit, ruled
from mimodsl.checker.rule import Cost

_HANDLED: Final = "tests/unit/builder/test_handled.py"
_PLAN: Final = "tests/property/test_plan_megatron.py"
_GROUPS: Final = "tests/e2e/test_matrix_grids.py"

GRIDS: Final = Area(
    title="Grids",
    facts=(
        Fact(
            at=("hyper_comm_grid.py:105", "hyper_comm_grid.py:157"),
            cost=Cost.RAISES,
            says="A grid or view with other than one size an axis name is refused.",
            ends=Impossible(
                "an axis is written with its size, and a shared one takes the base view's",
                f"{_PLAN}::test_groups_along_axes_are_those_of_a_grid",
            ),
        ),
        Fact(
            at=("hyper_comm_grid.py:122", "hyper_comm_grid.py:124"),
            cost=Cost.RAISES,
            says="A rank offset below 0 is refused, and a grid that reaches beyond the world.",
            ends=Impossible(
                "offsets and the world's size follow from `place`",
                "tests/e2e/test_training.py::test_a_world_of_another_size_is_refused",
            ),
        ),
        Fact(
            at=("hyper_comm_grid.py:110-111",),
            cost=Cost.SILENT,
            says="WORLD_SIZE in the environment counts for more than the world that was formed.",
            ends=Handled(
                "the spec's world is compared with the one that was formed, before any grid",
                "tests/e2e/test_launch_build.py::"
                "test_under_a_launcher_a_world_of_another_size_is_refused",
            ),
        ),
        Fact(
            at=("hyper_comm_grid.py:114-115",),
            cost=Cost.RAISES,
            says="A grid that is made before the world is formed is refused.",
            ends=Handled(
                "ranks form their world first",
                "tests/e2e/test_launch_ranks.py::test_ranks_form_a_world_on_the_cpu",
            ),
        ),
        Fact(
            at=("hyper_comm_grid.py:131-138",),
            cost=Cost.SILENT,
            says="The base view takes an axis twice, and sizes of 0 and below; only later views "
            "are looked at.",
            ends=ruled("MIMO203", "MIMO205", "MIMO304"),
        ),
        Fact(
            at=("hyper_comm_grid.py:155", "hyper_comm_grid.py:159", "hyper_comm_grid.py:161"),
            cost=Cost.RAISES,
            says="A later view with a name that is taken, an axis twice or a size below 1 is "
            "refused.",
            ends=ruled("MIMO203", "MIMO205", "MIMO304", "MIMO311"),
        ),
        Fact(
            at=("hyper_comm_grid.py:163",),
            cost=Cost.RAISES,
            says="A view has to cover as many ranks as the grid.",
            ends=ruled("MIMO301", "MIMO308"),
        ),
        Fact(
            at=("hyper_comm_grid.py:170-171", "hyper_comm_grid.py:173", "hyper_comm_grid.py:178"),
            cost=Cost.RAISES,
            says="A shared axis has to be in both views, and is named once.",
            ends=ruled("MIMO306"),
        ),
        Fact(
            at=("hyper_comm_grid.py:187", "hyper_comm_grid.py:198"),
            cost=Cost.RAISES,
            says="A shared axis has to join the same ranks in both views: after tp, cp, pp, dp an "
            "expert view that ends in pp is refused.",
            ends=ruled("MIMO307", "MIMO309"),
        ),
        Fact(
            at=("parallel_state.py:822", "parallel_state.py:881"),
            cost=Cost.RAISES,
            says="Where ranks are factored by parallel_state, they have to divide by tp·cp·pp and "
            "by etp·ep·pp.",
            ends=Impossible(
                "the ranks are the product of the axes",
                f"{_PLAN}::test_groups_along_axes_are_those_of_parallel_state",
            ),
        ),
        Fact(
            at=("hyper_comm_grid.py:243", "hyper_comm_grid.py:251"),
            cost=Cost.RAISES,
            says="A group along some axes is made once, whatever the order in which they are "
            "named.",
            ends=Handled(
                "one list holds the sets of axes, each once",
                f"{_PLAN}::test_groups_are_listed_as_megatron_makes_them",
            ),
        ),
        Fact(
            at=("hyper_comm_grid.py:300", "hyper_comm_grid.py:306"),
            cost=Cost.RAISES,
            says="A group that is asked for and was never made is an error.",
            ends=Handled(
                "every group that a module, DDP or the optimizer asks for is in the list",
                f"{_HANDLED}::test_the_optimizer_finds_its_groups_on_every_grid",
            ),
        ),
        Fact(
            at=("hyper_comm_grid.py:259", "pipeline_parallel/bridge_communicator.py:180"),
            cost=Cost.HANGS,
            says="Groups are made by all ranks together, in one order, members or not. A bridge "
            "makes its own when it is first built.",
            ends=Handled(
                "members alone make groups, those of bridges included, as one list has them; "
                "`check` proves it for each spec (MIMO801)",
                "tests/property/test_proof.py::test_every_kind_of_rank_makes_the_groups_of_its_steps",
            ),
        ),
        Fact(
            at=("process_groups_config.py:651",),
            cost=Cost.HANGS,
            says="Without an expert data-parallel group, DDP makes one of its own rank alone. "
            "Group names count from then on differ between ranks, and the next group that two "
            "kinds of ranks share never connects.",
            ends=Handled(
                "DDP and the optimizer of a dense module get real groups from an implied view",
                f"{_GROUPS}::test_collections_have_every_field_set_on_every_rank",
            ),
        ),
        Fact(
            at=("torch/distributed/distributed_c10d.py:5507",),
            cost=Cost.SILENT,
            says="A new group holds its ranks sorted, so an order in which they were listed is "
            "lost.",
            ends=Handled(
                "groups are listed in ascending order, and who leads a bridge is worked out by "
                "rank",
                f"{_PLAN}::test_bridges_connect_the_same_leaders",
            ),
        ),
    ),
)

COLLECTIONS: Final = Area(
    title="Process groups of a module",
    facts=(
        Fact(
            at=("models/mimo/optimizer.py:345-362",),
            cost=Cost.RAISES,
            says="The optimizer asks every grid, an encoder's too, for a view `expert` with groups "
            "along etp·ep·pp and edp, and for dp, dp·cp, tp, pp, tp·pp and all axes.",
            ends=Handled(
                "a grid without an expert view gets an implied one",
                f"{_HANDLED}::test_the_optimizer_finds_its_groups_on_every_grid",
            ),
        ),
        Fact(
            at=("process_groups_config.py:180-181",),
            cost=Cost.SILENT,
            says="A field of a collection that nobody set reads as None. A collective over None "
            "runs over the world, and a size of None is 1.",
            ends=Handled(
                "every field is set: to a group, or to None for a reason that is written down",
                f"{_GROUPS}::test_collections_have_every_field_set_on_every_rank",
            ),
        ),
        Fact(
            at=("process_groups_config.py:430", "process_groups_config.py:510"),
            cost=Cost.RAISES,
            says="The optimizer insists on dp, expt_dp, mp, tp_ep_pp and intra_dist_opt, and DDP "
            "on tp, pp and ep.",
            ends=Handled(
                "they are set on every rank",
                f"{_GROUPS}::test_collections_have_every_field_set_on_every_rank",
            ),
        ),
        Fact(
            at=(
                "distributed/finalize_model_grads.py:580",
                "distributed/finalize_model_grads.py:587",
                "distributed/finalize_model_grads.py:596",
            ),
            cost=Cost.LATE,
            says="Finishing gradients needs embd and pos_embd set on purpose, and tp_dp_cp where "
            "experts have a bias.",
            ends=Handled(
                "embd is the stages that hold embeddings, pos_embd None: positions live on one "
                "stage",
                f"{_GROUPS}::test_collections_have_every_field_set_on_every_rank",
            ),
        ),
        Fact(
            at=("transformer/moe/moe_logging.py:257-268",),
            cost=Cost.LATE,
            says="The first line that reports balancing losses reads parallel_state where "
            "dp_cp_gtp_remat is unset.",
            ends=Handled(
                "it is set to the data-parallel group",
                f"{_GROUPS}::test_collections_have_every_field_set_on_every_rank",
            ),
        ),
        Fact(
            at=("model_parallel_config.py:32", "model_parallel_config.py:37"),
            cost=Cost.RAISES,
            says="Weight shards have to be at least tp, and a multiple of it.",
            ends=Impossible(
                "there is no word for weights that are gathered when needed",
                f"{_HANDLED}::test_what_the_language_cannot_ask_for_is_off",
            ),
        ),
        Fact(
            at=(
                "extensions/transformer_engine.py:1237",
                "tensor_parallel/layers.py:1025",
                "pipeline_parallel/bridge_communicator.py:223",
            ),
            cost=Cost.SILENT,
            says="Weights gathered when needed (gtp) are looked up in parallel_state, and without "
            "it nothing is gathered; a bridge between such grids has ranks without a leader.",
            ends=Impossible(
                "there is no word for it, and no grid has such an axis",
                f"{_HANDLED}::test_what_the_language_cannot_ask_for_is_off",
            ),
        ),
        Fact(
            at=("distributed/distributed_data_parallel.py:173-182",),
            cost=Cost.RAISES,
            says="DDP that averages within the collective goes neither with losses a token nor "
            "with gathered weights.",
            ends=Impossible(
                "DDP sums, and gradients are divided once",
                f"{_HANDLED}::test_ddp_sums_and_has_one_optimizer_instance",
            ),
        ),
    ),
)

PLACEMENT: Final = Area(
    title="Placement and names",
    facts=(
        Fact(
            at=("models/mimo/config/base_configs.py:57",),
            cost=Cost.RAISES,
            says="Grids are given for exactly the modalities and the language model.",
            ends=Handled(
                "the map is made of the spec's flows and its language model",
                f"{_HANDLED}::test_modules_reach_megatron_under_their_names",
            ),
        ),
        Fact(
            at=("models/mimo/config/role.py:134",),
            cost=Cost.RAISES,
            says="A rank that no grid holds is refused.",
            ends=ruled("MIMO401", "MIMO406"),
        ),
        Fact(
            at=("models/mimo/config/role.py:86",),
            cost=Cost.SILENT,
            says="Modules count as colocated where all grids have one offset and size; pipeline "
            "stages are forgotten there, and a model in a pipeline alone is taken for one stage.",
            ends=Handled(
                "a language model alone keeps its stages; beside encoders MIMO622 refuses them",
                "tests/e2e/test_layers_in_layouts.py::test_language_models",
            ),
        ),
        Fact(
            at=("models/mimo/model/base.py:463-475",),
            cost=Cost.HANGS,
            says="Where grids overlap in part, shared ranks run their encoders and never the "
            "language model.",
            ends=ruled("MIMO403", "MIMO404", "MIMO405"),
        ),
        Fact(
            at=("pipeline_parallel/multimodule_communicator.py:255",),
            cost=Cost.SILENT,
            says="A rank of several modules takes the pipeline stage of the first.",
            ends=Impossible(
                "only encoders share ranks in a pipeline, and each is the first stage",
                f"{_PLAN}::test_stages_are_those_of_the_multi_module_pipeline",
            ),
        ),
        Fact(
            at=("models/mimo/model/base.py:172", "models/mimo/config/role.py:18"),
            cost=Cost.SILENT,
            says="A modality called `text` takes the place of the text, one called `language` that "
            "of the language model.",
            ends=ruled("MIMO423"),
        ),
        Fact(
            at=("models/mimo/submodules/base.py:63", "models/mimo/model/base.py:97"),
            cost=Cost.RAISES,
            says="Modalities are held by a container of torch, which refuses names with dots and "
            "names of its own.",
            ends=ruled("MIMO423", "MIMO424"),
        ),
        Fact(
            at=("optimizer/__init__.py:363",),
            cost=Cost.HANGS,
            says="Making an optimizer gathers its parameter groups over the world, twice a module. "
            "Ranks with different numbers of modules wait for each other for ever, or mix them.",
            ends=Handled(
                "optimizers are made module by module, and all other ranks answer with nothing",
                "tests/e2e/test_verify_layouts.py::test_two_encoders",
            ),
        ),
        Fact(
            at=(
                "pipeline_parallel/bridge_communicator.py:199",
                "models/mimo/comm/colocated_communicator.py:93",
            ),
            cost=Cost.RAISES,
            says="Bridges ask for groups of NCCL by name.",
            ends=Handled(
                "on a CPU the name stands for gloo; on GPUs it is what is wanted",
                "tests/unit/megatron/test_cpu_backend.py::TestCollectives::test_groups_that_name_nccl_are_gloo",
            ),
        ),
        Fact(
            at=("pipeline_parallel/bridge_communicator.py:197-200",),
            cost=Cost.HANGS,
            says="Bridges keep their groups on the class, by rank numbers alone: a second model in "
            "one process is given the groups of the first, which may be gone.",
            ends=Limit("a process builds one model; the checks on the meta device clear them"),
        ),
    ),
)
