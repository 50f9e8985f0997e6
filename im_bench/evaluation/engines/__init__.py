"""The engines: lm-eval's models, each with what we ask of it besides (`asking.py`). One module for each kind."""
