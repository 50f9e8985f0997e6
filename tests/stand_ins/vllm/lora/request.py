"""See the package."""


class LoRARequest:
    pass
