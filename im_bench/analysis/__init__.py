"""Questions to results: trends over ratio and size."""
