"""What came out of a run or of somebody else's system: read, scored, compared, audited, shown.

    predictions.csv -> predictions -> summary -> comparison, report; published figures next to them
    clips -> audit; logits and labels -> confidence

Every figure of `results.json`, a card, `mer-hf scores`, `compare` and `report` is computed by `summary` or
`comparison`, from `mer_hf.metrics`.
"""
