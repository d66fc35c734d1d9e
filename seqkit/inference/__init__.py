"""Using a model: scores on a split, predictions for new inputs, generated text."""
