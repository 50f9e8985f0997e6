"""What a command is refused with."""

from im_bench.cli import main


def refusal(capsys, *words):
    """What a command is refused with, a line for each thing; it has made nothing."""
    capsys.readouterr()
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == "" and "Traceback" not in said.err
    first, *lines = [line for line in said.err.splitlines() if not line.startswith("fetching ")]
    if not lines:
        return [first.removeprefix("im-bench: ")]
    assert first == f"im-bench: {len(lines)} things to mend before anything runs:"
    assert len(set(lines)) == len(lines)
    return [line.removeprefix("  ") for line in lines]
