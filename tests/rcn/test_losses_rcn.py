import torch

from mer_hf.rcn.losses_rcn import unit_loss


def test_a_unit_that_is_not_known_adds_nothing_to_the_loss():
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(4, 3, generator=generator), torch.rand(4, 3, generator=generator).round()
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    hidden = targets.clone()
    hidden[0], hidden[2, 1] = torch.nan, torch.nan
    each[0], each[2, 1] = 0, 0
    torch.testing.assert_close(unit_loss(logits, hidden), each.mean())
    torch.testing.assert_close(unit_loss(logits, hidden, 8), each.sum() / 3 / 8)
