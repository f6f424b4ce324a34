"""One SAE trained by several processes, for the rare one that is too much for one: started by torchrun.

    torchrun --nproc-per-node 2 -m moodlens.sae.distributed STORE --out DIR --set architecture=topk --set d_sae=65536

Every process reads its slice of each batch (:mod:`moodlens.sae.sliced`); the result is that of one process at the same
batch size to the order of sums, and only the first process writes. Processes on several machines need the store under one
path. Many SAEs are not this: they need nothing from each other (:mod:`moodlens.engine`).
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch.distributed as dist

from moodlens.core import BadInput
from moodlens.core.threads import one_torch_thread
from moodlens.embed.store import EmbeddingStore
from moodlens.sae.files import save_sae
from moodlens.sae.history import write_history
from moodlens.sae.rows import Rows
from moodlens.sae.sliced import Sliced
from moodlens.sae.trained import Trained
from moodlens.sae.training import Trainer, prepare
from moodlens.sae.units import Source
from moodlens.settings.base import apply_changes, validate
from moodlens.settings.engine import EngineSettings
from moodlens.settings.sae import SAESettings

WRONG = 2
"""Exit status for what is wrong with the input."""


def train_sliced(
    x_train: np.ndarray | Rows, x_val: np.ndarray | Rows, settings: SAESettings, *, seed: int
) -> Trained:
    """As :func:`moodlens.sae.training.train`, by all processes of the default process group, each with all arguments.

    Args:
        x_train: ``(n, d_in)`` raw embeddings, or a store that serves them; every process sees all, and reads its slices.
        x_val: held-out rows, likewise.
        settings: ``batch_size`` is that of all processes together.
        seed: decides weights and order.

    Returns:
        The same in every process.

    Raises:
        BadInput: as ``train``, or a batch has fewer rows than there are processes.
    """
    rows, world = prepare(x_train, x_val), dist.get_world_size()
    resolved = settings.resolve(rows.data.rows, rows.d_in)
    assert resolved.batch_size is not None
    smallest = rows.data.rows // -(-rows.data.rows // resolved.batch_size)
    if smallest < world:
        raise BadInput(
            f"{world} processes share batches of {smallest} rows: raise batch_size, or start at most {smallest}"
        )
    with one_torch_thread():
        return Trainer(rows, settings, seed, stepper=Sliced).run(lambda _: None)


def split_rows(n: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the rows that train and of those that validate, at least one, rising, drawn by ``seed``."""
    order = np.random.default_rng([seed, 0x5B17]).permutation(n)
    n_val = max(1, round(share * n))
    return np.sort(order[n_val:]), np.sort(order[:n_val])


def _train_store(given: argparse.Namespace) -> None:
    if (given.out / "cfg.json").exists():
        raise BadInput(f"{given.out}: already holds an SAE; name another folder")
    if not 0 < given.val < 1:
        raise BadInput(f"--val {given.val:g}: give a share between 0 and 1")
    settings = validate(SAESettings, apply_changes({}, given.set), "--set", given.set)
    store = EmbeddingStore.open(given.store)
    source = Source(given.store.absolute(), *split_rows(store.rows, given.val, given.seed), given.memory)
    trained = train_sliced(*source.rows(), settings, seed=given.seed)
    if dist.get_rank() == 0:
        save_sae(trained.sae, given.out, {"encoder_id": store.info.encoder})
        write_history(given.out / "history.jsonl", trained.history)
        last = trained.history[trained.best_epoch]
        print(  # noqa: T201 - this is its command line
            f"{given.out}: {trained.sae.d_sae} features by {dist.get_world_size()} processes in {trained.seconds:.0f} s, "
            f"explained variance {last.val_explained_variance:.3f} on {len(source.val)} held-out rows"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the SAE that the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="torchrun -m moodlens.sae.distributed", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "store", type=Path, metavar="STORE", help="folder of embeddings, seen by every process"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the SAE is written")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the SAE, e.g. k=64"
    )
    parser.add_argument("--val", type=float, default=0.1, metavar="SHARE", help="rows that validate (0.1)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and held-out rows (0)")
    parser.add_argument(
        "--memory",
        type=float,
        default=EngineSettings().memory,
        metavar="GIB",
        help="rows that a process holds (2)",
    )
    given = parser.parse_args(arguments)
    first = os.environ.get("RANK", "0") == "0"
    try:
        if "RANK" not in os.environ:
            raise BadInput(
                "start this by torchrun: torchrun --nproc-per-node 2 -m moodlens.sae.distributed STORE --out DIR"
            )
        dist.init_process_group("gloo")
        try:
            _train_store(given)
        finally:
            dist.destroy_process_group()
    except BadInput as error:
        if first:  # the others have the same input, and the same to say
            print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return WRONG
    return 0


if __name__ == "__main__":
    sys.exit(main())
