#!/usr/bin/env bash
# A run on several nodes that goes back into the queue when its time is over.
#   sbatch examples/slurm.sh recipe.yaml [key=value ...]
#SBATCH --job-name=lifelong
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
set -uo pipefail

# The first of node[01-04],spare7 is node01.
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

requeue() {
    noticed=1
    # To all processes of the steps: the ranks save what they have and stop.
    scancel --signal=TERM "$SLURM_JOB_ID"
}
noticed=0
trap requeue TERM

srun --kill-on-bad-exit=0 torchrun \
    --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "${SLURM_GPUS_ON_NODE:-1}" \
    --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$first:29500" \
    --no-python run-lifelong "$@" &
step=$!

# A trap ends the first wait; the second is for the ranks to come to their end.
wait "$step"
status=$?
if ((noticed)); then
    wait "$step"
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
exit "$status"
