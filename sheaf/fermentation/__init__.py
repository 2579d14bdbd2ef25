"""Fermentation batches: manual samples and sensor series of a bioreactor campaign."""
