"""From clips and a recipe to models, predictions and scores."""
