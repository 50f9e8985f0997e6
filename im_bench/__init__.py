"""im-bench: on which tokens should the loss of instruction tuning be?"""
