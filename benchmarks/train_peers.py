"""One training step of each peer, as its own training loop takes it: ``step(x)`` on a ready batch.

A peer that is not installed is left out (``make bench-env`` installs all).
"""

from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[Tensor], None]


def sae_lens(d_in: int, d_sae: int, k: int, device: str = "cpu") -> Step:
    """``SAETrainer._train_step`` of SAELens 6.54 with its defaults."""
    from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.saes.sae import TrainStepInput

    sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(d_in=d_in, d_sae=d_sae, k=k, device=device))
    optimizer = torch.optim.Adam(sae.parameters(), lr=3e-4)
    silent, frequency = torch.zeros(d_sae, device=device), torch.zeros(d_sae, device=device)
    taken = 0

    def step(x: Tensor) -> None:
        nonlocal taken
        sae.train()
        out = sae.training_forward_pass(
            step_input=TrainStepInput(
                sae_in=x,
                dead_neuron_mask=silent > 1000,
                coefficients={},
                n_training_steps=taken,
                is_logging_step=False,
            )
        )
        with torch.no_grad():
            firing = out.feature_acts.bool().float()
            fired = firing.sum(-2).bool()
            if fired.is_sparse:
                fired = fired.to_dense()
            silent.add_(1)
            silent[fired] = 0
            frequency.add_(firing.sum(0))
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        taken += 1

    return step


def hypothesaes(d_in: int, d_sae: int, k: int) -> Step:
    """The loop body of ``SparseAutoencoder.fit`` of HypotheSAEs 2.0, with batch top-k."""
    from hypothesaes.sae import SparseAutoencoder

    sae = SparseAutoencoder(d_in, d_sae, k, use_batch_topk=True, device="cpu")
    optimizer = torch.optim.Adam(sae.parameters(), lr=5e-4)
    begun = False

    def step(x: Tensor) -> None:
        nonlocal begun
        if not begun:
            sae.initialize_weights_(x)
            begun = True
        sae.train()
        reconstruction, info = sae(x)
        loss = sae.compute_loss(x, reconstruction, info, 1 / 32, 0.0)
        optimizer.zero_grad()
        loss.backward()
        sae.adjust_decoder_gradient_()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        optimizer.step()
        sae.normalize_decoder_()
        loss.item()

    return step


def dictionary_learning(d_in: int, d_sae: int, k: int) -> Step:
    """``BatchTopKTrainer.update`` of dictionary_learning 0.1."""
    from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer

    trainer = BatchTopKTrainer(
        steps=100_000, activation_dim=d_in, dict_size=d_sae, k=k, layer=0, lm_name="none", device="cpu"
    )
    taken = 0

    def step(x: Tensor) -> None:
        nonlocal taken
        trainer.update(taken, x)
        taken += 1

    return step


PEERS: dict[str, Callable[[int, int, int], Step]] = {
    "sae_lens": sae_lens,
    "hypothesaes": hypothesaes,
    "dictionary_learning": dictionary_learning,
}


def installed(d_in: int, d_sae: int, k: int) -> dict[str, Step]:
    """The steps of all peers that can be imported here."""
    steps = {}
    for name, make in PEERS.items():
        try:
            steps[name] = make(d_in, d_sae, k)
        except ImportError:
            continue
    return steps
