#!/usr/bin/env bash
# Builds and trains the small Nemotron VLM over NCCL on two GPUs: colocated and non-colocated, fp32 and bf16,
# started by mimodsl and by torchrun. Logs go to $1.
set -uo pipefail
out=${1:-/tmp}
work=$(mktemp -d)
cp -r specs/presets "$work/"
# One rank for the encoder and one for the language model.
sed -e 's/tp:2/tp:1/; s/ep:2 /ep:1 /; s/replicas = 2/replicas = 1/' specs/nemotron_vlm.mimo >"$work/split.mimo"
cp specs/nemotron_vlm_colocated.mimo "$work/colocated.mimo"
for name in split colocated; do sed 's/= fp32/= bf16/' "$work/$name.mimo" >"$work/${name}_bf16.mimo"; done

run() { # name, then a command
  local name=$1 start=$SECONDS
  shift
  timeout 280 "$@" >"$out/$name.log" 2>&1
  echo "$name: exit code $? after $((SECONDS - start)) s"
  tail -25 "$out/$name.log"
}

two="--set world=2"
kernels=local
python3 -c 'import transformer_engine.pytorch' 2>/dev/null && kernels=transformer_engine
echo "kernels = auto stands for $kernels"
run split_bf16 python3 -m mimodsl build "$work/split_bf16.mimo" --device cuda
run torchrun python3 -m torch.distributed.run --nproc-per-node 2 -m mimodsl build "$work/colocated_bf16.mimo" $two
if [[ $kernels == local ]]; then
  run colocated python3 -m mimodsl build "$work/colocated.mimo" $two --device cuda
  run split python3 -m mimodsl build "$work/split.mimo" --device cuda
fi
# Libraries that are compiled here for the first time warn of their own source, and warnings are errors.
run tests python3 -m pytest -m gpu -W ignore -p no:cacheprovider tests/unit/test_mamba_kernels.py
