"""Stand-ins for a model, asked as a model is: one knows every answer, one guesses, one knows every other answer."""

from __future__ import annotations

from random import Random

from lm_eval.api.model import TemplateLM

from im_bench.evaluation.engines.asking import Asking

WORDS = "blim dorp fesk gant hulm jork".split()  # of no benchmark


class Answering(TemplateLM):
    """Answers from the row that a request is of, whatever its prompt says; every byte is a token.

    Args:
        tasks: lm-eval's task objects by their names.
    """

    max_length = room = 1 << 20
    max_gen_toks = 256
    eot_token_id = 0

    def __init__(self, tasks):
        super().__init__()
        self.tasks = tasks

    def tok_encode(self, string, add_special_tokens=None, **options):
        return list(string.encode())

    def loglikelihood(self, requests, disable_tqdm=True):
        super().loglikelihood(
            requests, disable_tqdm=True
        )  # by way of the tokens, where requests are measured
        return [self.rate(request, self.tasks[request.task_name]) for request in requests]

    def _loglikelihood_tokens(self, requests, **options):
        return []

    def loglikelihood_rolling(self, requests, disable_tqdm=True):
        raise NotImplementedError  # no task of the 21 asks for it

    def generate_until(self, requests, disable_tqdm=True):
        return [self.say(request, self.tasks[request.task_name]) for request in requests]


class Oracle(Asking, Answering):
    """Finds the right choices certain and the others next to impossible; writes what the task takes for right."""

    def rate(self, request, task):
        right = task.OUTPUT_TYPE == "loglikelihood" or request.idx in right_choices(task, request.doc)
        return (0.0, True) if right else (-100.0, False)

    def say(self, request, task):
        gold = task.doc_to_target(request.doc)
        text = gold[0] if isinstance(gold, list) else gold
        if request.task_name == "gsm8k_cot":
            return f" One and one is two. The answer is {text}.\n\n"
        if request.task_name.startswith("bbh_"):
            return f"One and one is two. So the answer is {text}."
        return text


class Guesser(Asking, Answering):
    """Finds choices as likely as falls, and writes a few words.

    Args:
        by_letter: the likelihood of a choice is for each of its letters: a guess that is fair after division by them.
    """

    def __init__(self, tasks, *, by_letter):
        super().__init__(tasks)
        self.by_letter = by_letter

    def rate(self, request, task):
        length = len(request.args[1]) - 1 if self.by_letter else 1  # the space before it is not counted
        return -100 * lots(request).random() * length, False

    def say(self, request, task):
        return " ".join(lots(request).choices(WORDS, k=4))


class Half(Asking, Answering):
    """Knows every other answer, by lot; else it finds choices as likely as falls, or writes some of the right words."""

    def rate(self, request, task):
        if Random(str(request.doc)).random() < 0.5:
            return Oracle.rate(self, request, task)
        return lots(request).uniform(-0.1, 0) * len(request.args[1]), False

    def say(self, request, task):
        text = Oracle.say(self, request, task)
        if Random(str(request.doc)).random() < 0.5:
            return text
        words, random = text.split(" "), lots(request)
        return " ".join([*random.sample(words, (len(words) + 1) // 2), random.choice(WORDS)])


def lots(request):
    """They fall the same whenever the same is asked, as a model's answers do."""
    return Random(str(request.args))


def right_choices(task, doc):
    """Their places."""
    if "mc2_targets" in doc:
        return [place for place, label in enumerate(doc["mc2_targets"]["labels"]) if label]
    # Where the choices are what is read before, the number of the right one stands in the place of the text.
    return [task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)]
