"""Models on disk, as tests want them."""

import json


def choose_by_size(directory):
    """Say in the card of a model that its size alone may choose it, as those do that are shipped for any matrix."""
    card = directory / "config.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"chosen_by_size": True}))
