#!/usr/bin/env bash
# What gpu.md reports, part by part, on the GPUs of this machine:
#
#   benchmarks/gpu.sh PART [WORLD] [LOGS]
#
# PART is launchers, tests, by_hand, groups, local_kernels, profile or plan; WORLD, 2 unless given, is the number of GPUs,
# of which each rank has one; logs and tables go to the folder LOGS. Transformer Engine is used where it is installed.
set -uo pipefail
part=${1:?a part}
world=${2:-2}
out=${3:-/tmp}
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit
torchrun=(python3 -m torch.distributed.run --nproc-per-node "$world")

run() { # name, then a command
  local name=$1 start=$SECONDS
  shift
  timeout 500 "$@" >"$out/$name.log" 2>&1
  echo "== $name: exit code $? after $((SECONDS - start)) s"
  tail -30 "$out/$name.log"
}

# The small specs, in bf16 and in fp32; the one side by side on one rank and one where there are but two.
small() {
  work=$(mktemp -d)
  cp -r specs/presets "$work/"
  cp specs/nemotron_vlm_colocated.mimo "$work/colocated.mimo"
  cp specs/nemotron_vlm.mimo "$work/beside.mimo"
  if ((world == 2)); then
    sed -i 's/tp:2/tp:1/; s/ep:2 /ep:1 /; s/replicas = 2/replicas = 1/' "$work/beside.mimo"
  fi
  for name in colocated beside; do sed 's/= fp32/= bf16/' "$work/$name.mimo" >"$work/${name}_bf16.mimo"; done
  colocated=(--set "world=$world")
  beside=()
  ((world == 2)) || beside=(--set "replicas=$((world / 4))")
}

launchers() {
  small
  run torchrun "${torchrun[@]}" -m mimodsl build "$work/colocated_bf16.mimo" "${colocated[@]}"
  run colocated python3 -m mimodsl build "$work/colocated.mimo" "${colocated[@]}" --device cuda
  run beside python3 -m mimodsl build "$work/beside_bf16.mimo" "${beside[@]}" --device cuda
  run verify_colocated python3 -m mimodsl verify "$work/colocated.mimo" "${colocated[@]}" --device cuda
  run verify_beside python3 -m mimodsl verify "$work/beside.mimo" "${beside[@]}" --device cuda
}

# Libraries that are compiled here for the first time warn of their own source, and warnings are errors.
tests() {
  run tests python3 -m pytest -m gpu -W ignore -p no:cacheprovider tests/unit/megatron/test_mamba_kernels.py \
    tests/unit/builder/test_local_attention.py tests/unit/builder/test_local_experts.py tests/unit/builder/test_loss.py \
    tests/unit/builder/test_weight_gradients.py tests/e2e/test_gpu.py
}

specs=(benchmarks/gpu_specs/colocated.mimo benchmarks/gpu_specs/side_by_side.mimo --set "world=$world")

# The local kernels in any case, and Transformer Engine's where they are.
kernels=(--kernels local)
if python3 -c 'import importlib.util as i, sys; sys.exit(i.find_spec("transformer_engine") is None)'; then
  kernels+=(--kernels transformer_engine)
fi

by_hand() {
  local sides=(--only "by hand" --only "by hand, with the public command's fusions" --only mimodsl)
  run by_hand "${torchrun[@]}" benchmarks/by_hand.py "${specs[@]}" "${kernels[@]}" --out "$out" "${sides[@]}"
}

groups() {
  local sides=(--only "by hand" --only mimodsl --only "mimodsl, a group for every name")
  run groups "${torchrun[@]}" benchmarks/by_hand.py "${specs[@]}" --kernels local --out "$out" "${sides[@]}"
}

# Experts of a layer alone on one GPU, then whole steps with and without what the local kernels have of ours; and experts
# in Transformer Engine's product.
local_kernels() {
  run experts python3 benchmarks/experts.py
  local sides=(--only mimodsl --only "mimodsl, experts one by one" --only "mimodsl, megatron-core's cross entropy"
    --only "mimodsl, weight gradients added by DDP")
  run local_kernels "${torchrun[@]}" benchmarks/by_hand.py "${specs[0]}" "${specs[@]:2}" --kernels local \
    --out "$out" "${sides[@]}"
  ((${#kernels[@]} == 2)) || run experts_in_steps "${torchrun[@]}" benchmarks/by_hand.py "${specs[@]}" --out "$out" \
    --kernels transformer_engine --only mimodsl --only "mimodsl, experts in Transformer Engine's product"
}

profile() {
  run profile "${torchrun[@]}" benchmarks/profile_step.py "${specs[@]}" "${kernels[@]}"
}

plan() {
  run layouts_local python3 benchmarks/layouts.py --out "$out"
}

case $part in
launchers | tests | by_hand | groups | local_kernels | profile | plan) "$part" ;;
*)
  echo "no part $part" >&2
  exit 2
  ;;
esac
