"""The guard against reads of megatron-core's global topology."""

import pytest
from megatron.core import parallel_state, tensor_parallel, utils

from mimodsl.megatron.guard import ParallelStateRead, no_parallel_state


def test_a_read_raises_and_names_its_reader() -> None:
    with no_parallel_state(), pytest.raises(ParallelStateRead, match=r"this_reader \(.*\) reads"):
        this_reader()


def this_reader() -> None:
    parallel_state.get_data_parallel_world_size()


def test_names_imported_from_parallel_state_are_guarded() -> None:
    with (
        no_parallel_state(),
        pytest.raises(ParallelStateRead, match="param_is_not_tensor_parallel_duplicate"),
    ):
        tensor_parallel.layers.param_is_not_tensor_parallel_duplicate(object())


def test_a_missing_tensor_parallel_group_raises() -> None:
    with (
        no_parallel_state(),
        pytest.raises(ParallelStateRead, match="has no tensor-parallel group"),
    ):
        utils.get_tensor_model_parallel_group_if_none(None)


def test_questions_that_are_no_topology_pass() -> None:
    with no_parallel_state():
        assert not parallel_state.is_initialized()
        assert parallel_state.get_gtp_weight_remat_group(check_initialized=False) is None


def test_everything_is_put_back() -> None:
    def bindings() -> list[object]:
        return [
            parallel_state.get_tensor_model_parallel_rank,
            tensor_parallel.layers.get_tensor_model_parallel_rank,
            utils.get_tensor_model_parallel_group_if_none,
            tensor_parallel.mappings.get_tensor_model_parallel_group_if_none,
        ]

    before = bindings()
    with no_parallel_state():
        assert not set(before) & set(bindings())
    assert bindings() == before
