"""The semi-supervised loss: Chan-Vese on every image, the label term on those with labels (equations 6 to 8).

    L = L_U + alpha L_S                                                                                       (6)
    L_U = nu sum f + sum f (g - c1)^2 + sum (1 - f) (g - c2)^2                                                (7)
    L_S = sum |grad f| + sum ((1 - u)^2 - u^2) f                                                              (8)

f is the network's probability, g the image, c1 and c2 the means of g inside and outside, u the label.

Corrections of what is printed, each tested:

* (7) has hard regions f > 0 and f < 0, which have no gradient; soft membership f in [0, 1] takes their place;
* (8) is printed with a constant u = 0 ("mu"): then f = 0 everywhere is its minimum. With the label as u it is, up to a
  constant, sum f (1 - u)^2 + (1 - f) u^2, as in X. Chen et al., CVPR 2019, and in the code of Chen & Frey 2020;
* sums are divided by the number of pixels, so that the size of an image does not weigh.

(7) does not change if inside and outside are exchanged and cold becomes the lesion; `ORDER` penalises c1 < c2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.losses import DiceCELoss

ALPHA, NU = 0.4, 0.004
EPSILON = 1e-6


@dataclass(frozen=True)
class LossSettings:
    """Weights of the terms.

    alpha, nu : as in the paper. unsupervised : factor on L_U, 1 in the paper. length : factor on |grad f| in L_S, 1 in
    the paper. order : weight of the penalty on c1 < c2. guide : weight of Dice + cross-entropy on labelled images,
    beside the paper's terms, 0 in the paper.
    """

    alpha: float = ALPHA
    nu: float = NU
    unsupervised: float = 1.0
    length: float = 1.0
    order: float = 1.0
    guide: float = 0.0


def chan_vese(f: torch.Tensor, g: torch.Tensor, nu: float = NU, order: float = 0.0) -> torch.Tensor:
    """Equation 7 per image, divided by its pixels.

    Parameters
    ----------
    f : (n, 1, h, w), membership in [0, 1]. g : the images, same shape.
    order : weight of max(0, c2 - c1), so that the inside is the hotter region.

    Returns
    -------
    torch.Tensor
        (n,).
    """
    f, g = f.flatten(1), g.flatten(1)
    inside = (f * g).sum(1, keepdim=True) / (f.sum(1, keepdim=True) + EPSILON)
    outside = ((1 - f) * g).sum(1, keepdim=True) / ((1 - f).sum(1, keepdim=True) + EPSILON)
    fit = f * (g - inside) ** 2 + (1 - f) * (g - outside) ** 2
    return (nu * f + fit).mean(1) + order * (outside - inside).clamp(min=0)[:, 0]


def label_term(f: torch.Tensor, u: torch.Tensor, length: float = 1.0) -> torch.Tensor:
    """Equation 8 per image, divided by its pixels: total variation and the label's region term, (n,)."""
    region = (((1 - u) ** 2 - u**2) * f).flatten(1).mean(1)
    return length * total_variation(f) + region


def total_variation(f: torch.Tensor) -> torch.Tensor:
    """Sum of |grad f| by forward differences (0 across the last row and column), divided by the pixels: (n,)."""
    down = torch.zeros_like(f)
    right = torch.zeros_like(f)
    down[..., :-1, :] = f[..., 1:, :] - f[..., :-1, :]
    right[..., :, :-1] = f[..., :, 1:] - f[..., :, :-1]
    size = down**2 + right**2
    # The root has no slope at 0: flat places get none.
    return torch.where(size > 0, size.clamp(min=1e-12).sqrt(), size).flatten(1).mean(1)


def semi_supervised(
    logits: torch.Tensor, g: torch.Tensor, u: torch.Tensor, labelled: torch.Tensor, settings: LossSettings
) -> torch.Tensor:
    """Equation 6 over a batch that mixes images with and without labels.

    Parameters
    ----------
    logits, g : (n, 1, h, w). u : float (n, 1, h, w), 0 or 1; not looked at where `labelled` (bool (n,)) is False.
    """
    f = logits.float().sigmoid()
    loss = settings.unsupervised * chan_vese(f, g, settings.nu, settings.order).mean()
    if bool(labelled.any()):
        terms = label_term(f[labelled], u[labelled], settings.length)
        loss = loss + settings.alpha * terms.sum() / len(f)
        if settings.guide:
            share = labelled.float().mean()
            loss = loss + settings.guide * share * warm_up(logits[labelled], u[labelled])
    return loss


def warm_up(logits: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Dice over the batch + cross-entropy: what labelled images teach before the paper's loss takes over.

    Equations 7 and 8 are linear or quadratic in f: where f is near 0 their slope by the logit is f (1 - f), so a
    network that has not learned anything stays at an empty mask. They refine what is there.
    """
    loss: torch.Tensor = DiceCELoss(sigmoid=True, batch=True)(logits.float(), u)
    return loss
