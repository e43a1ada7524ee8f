"""Language models that write the answer with their LM head: decoders alone, or an encoder with a decoder.

Answer probability (TOFU): e^−ℓ, ℓ the mean cross-entropy over an answer's tokens, EOS included. Accuracy: the label text
with the largest summed log-probability among all labels is chosen (first of ties).
"""

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from clients.data.dataset import Example, LabelSet
from clients.exact.finite import hits
from clients.models import chat, text
from clients.models.flat import BaseModel, config_facts, tunable
from clients.models.tangent import expanded
from clients.settings import ModelSpec


class LanguageModel(BaseModel):
    """A causal language model."""

    closed_prompt = False  # whether prompts end with EOS

    def __init__(
        self, module: Any, tokenizer: Any, spec: ModelSpec, device: str, label_sets: Mapping[str, LabelSet]
    ) -> None:
        self.tokenizer, self.label_sets = tokenizer, label_sets
        self.day = spec.chat_date if spec.chat else None
        self.rows = module.get_input_embeddings().num_embeddings
        self.takes = set(inspect.signature(module.forward).parameters)
        self.reads_on = reads_on(module)
        words = [config_facts(module.config), *text_facts(tokenizer, spec)]
        super().__init__(module, tunable(module, spec, [module.get_output_embeddings()]), words, spec, device)

    def encode(self, examples: Sequence[Example]) -> list[text.Encoded]:
        found, rooms = [], {}
        for example in examples:
            key = example.label_set, self._before(example)
            if key not in rooms:
                rooms[key] = self._room(self.label_sets[key[0]].labels, key[1]) if self.label_sets else None
            one = text.encode(self.tokenizer, example, self.spec.max_length, self.day, self.closed_prompt, rooms[key])
            text.check_known(self.tokenizer, one.ids, self.rows, example.prompt + example.answer)
            found.append(one)
        return found

    def shortened(self, examples: Sequence[Example]) -> int:
        return sum(encoded.shortened for encoded in self.encode(examples))

    def shown(self, example: Example) -> tuple[str, str]:
        (encoded,) = self.encode([example])
        parts = encoded.ids[: -encoded.answer], encoded.ids[-encoded.answer :]
        asked, answer = (text.spelt(self.tokenizer, part) for part in parts)
        return asked, answer

    def _before(self, example: Example) -> str | None:
        return text.before_answer(self.tokenizer, example.prompt, self.day, self.closed_prompt)

    def _room(self, labels: Sequence[str], before: str | None) -> int:
        """Tokens of a prompt, such that every label fits after it: in training as in scoring."""
        return self.spec.max_length - max(len(text.encode_answer(self.tokenizer, label, before)) for label in labels)

    def loss(self, batch: list[text.Encoded]) -> torch.Tensor:
        """Mean cross-entropy over the answer tokens of a batch, a scalar."""
        logits, targets = self._predict(batch)
        return cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=text.IGNORED)

    def weight(self, batch: list[text.Encoded]) -> int:
        return sum(encoded.answer for encoded in batch)

    def _predict(self, batch: list[text.Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (fp32) and the tokens they should predict, from the first answer token of any example on.

        The head is not computed over the prompts that all have: with large vocabularies it is a third of the work.
        """
        ids, targets = text.collate(batch, self.device)
        kept = ids.shape[1] - min(len(e.ids) - e.answer - 1 for e in batch)
        logits = self.module(input_ids=ids, use_cache=False, **self._keeping(kept)).logits
        return expanded(logits[:, -kept:][:, :-1]).float(), targets[:, -kept:][:, 1:]

    def _keeping(self, last: int) -> dict[str, int]:
        """Asks a model for the logits of the last positions alone, if it can give them."""
        return {"logits_to_keep": last} if "logits_to_keep" in self.takes else {}

    @torch.no_grad()
    def answer_losses(self, encoded: list[text.Encoded]) -> tuple[np.ndarray, np.ndarray]:
        """Summed cross-entropy of each answer (EOS included) and its number of tokens; float64 [n] and int64 [n]."""
        sums, counts = [], []
        for start in range(0, len(encoded), self.at_once):
            with self.computing():
                logits, targets = self._predict(encoded[start : start + self.at_once])
            sums.append(_summed(logits, targets))
            counts.append((targets != text.IGNORED).sum(1).cpu().numpy())
        return np.concatenate(sums), np.concatenate(counts)

    def values(self, examples: Sequence[Example]) -> list[float]:
        """Answer probability of each, or where answers are labels 1 if the right one is chosen, else 0, NaN if none is."""
        if not self.label_sets:
            sums, counts = self.answer_losses(self.encode(examples))
            return [float(p) for p in np.exp(-sums / counts)]
        labels = self.label_sets[examples[0].label_set].labels
        right = np.array([labels.index(example.answer) for example in examples])
        return hits(-self.label_losses(examples, labels), right).tolist()

    def probabilities(self, examples: Sequence[Example]) -> tuple[np.ndarray, np.ndarray]:
        """Answer probabilities, or the labels' among all labels: their summed log-probabilities, normalised."""
        if not self.label_sets:
            sums, counts = self.answer_losses(self.encode(examples))
            return np.exp(-sums / counts)[:, None], np.zeros(len(examples), dtype=np.int64)
        labels = self.label_sets[examples[0].label_set].labels
        losses = self.label_losses(examples, labels)
        found = np.exp(losses.min(1, keepdims=True) - losses)
        return found / found.sum(1, keepdims=True), np.array([labels.index(e.answer) for e in examples])

    @torch.no_grad()
    def label_losses(self, examples: Sequence[Example], labels: Sequence[str]) -> np.ndarray:
        """Summed cross-entropy of every label after every prompt, float64 [examples, labels].

        A prompt is read once: its keys and values are repeated for all labels, which are read after them. That costs
        the labels' tokens instead of (prompt + label) times labels. Where that is not the same (``reads_on``), prompt and
        label are read together.

        Raises:
            InputError: a prompt's fixed words leave no room for the longest label.
        """
        found = np.empty((len(examples), len(labels)))
        before = [self._before(example) for example in examples]
        for each in dict.fromkeys(before):  # one, unless prompts end in a blank now and then
            answers = [text.encode_answer(self.tokenizer, label, each) for label in labels]
            room = self._room(labels, each)
            rows = [row for row, one in enumerate(before) if one == each]
            found[rows] = self._ranked([self._prompt(examples[row], room) for row in rows], answers)
        return found

    def _prompt(self, example: Example, room: int) -> list[int]:
        ids, _ = text.encode_question(self.tokenizer, example, room, self.day, self.closed_prompt)
        text.check_known(self.tokenizer, ids, self.rows, example.prompt)
        return ids

    def _ranked(self, prompts: list[list[int]], answers: list[list[int]]) -> np.ndarray:
        """Losses of answers after prompts, so many pairs at a time as are scored at once."""
        many = max(1, self.at_once // len(answers))
        most = self.micro_batch or len(answers)  # labels that are ranked after one reading of a prompt
        score = self._label_losses if self.reads_on else self._losses_of_pairs
        with self.computing():
            parts = [
                [score(prompts[i : i + many], answers[k : k + most]) for k in range(0, len(answers), most)]
                for i in range(0, len(prompts), many)
            ]
        return np.concatenate([np.concatenate(part, axis=1) for part in parts])

    def _losses_of_pairs(self, prompts: list[list[int]], answers: list[list[int]]) -> np.ndarray:
        pairs = [text.Encoded((*prompt, *answer), len(answer)) for prompt in prompts for answer in answers]
        return _summed(*self._predict(pairs)).reshape(len(prompts), len(answers))

    def _label_losses(self, prompts: list[list[int]], answers: list[list[int]]) -> np.ndarray:
        n, k = len(prompts), len(answers)
        ids, mask = text.pad(prompts, self.device)
        lengths = mask.sum(1)
        kept = ids.shape[1] - int(lengths.min()) + 1
        out = self.module(input_ids=ids, attention_mask=mask, use_cache=True, **self._keeping(kept))
        first = out.logits[torch.arange(n, device=self.device), lengths - 1 - ids.shape[1]].float()
        tokens, known = text.pad(answers, self.device)
        logits = first[:, None, None].expand(n, k, 1, -1)
        if tokens.shape[1] > 1:
            out.past_key_values.batch_repeat_interleave(k)
            steps = torch.arange(tokens.shape[1] - 1, device=self.device)
            rest = self.module(
                input_ids=tokens[:, :-1].repeat(n, 1),
                attention_mask=torch.cat([mask.repeat_interleave(k, 0), known[:, :-1].repeat(n, 1)], 1),
                position_ids=(lengths[:, None] + steps).repeat_interleave(k, 0),
                past_key_values=out.past_key_values,
                use_cache=True,
            ).logits.float()
            logits = torch.cat([logits, rest.view(n, k, tokens.shape[1] - 1, -1)], 2)
        return _of_answers(logits, tokens, known)

    def seen(self, batch: list[text.Encoded]) -> torch.Tensor:
        """The last layer's output at the last token of each answer, [batch, width].

        Not at EOS: nothing comes after it in training, so a model says nothing there.
        """
        ids, _ = text.collate(batch, self.device)
        out = self.module(input_ids=ids, output_hidden_states=True, use_cache=False, **self._keeping(1))
        hidden = out.hidden_states[-1]
        last = torch.tensor([len(e.ids) - 2 for e in batch], device=self.device)
        return hidden[torch.arange(len(batch), device=self.device), last]


class EncoderDecoder(LanguageModel):
    """An encoder-decoder model (T5): the encoder reads the prompt, the decoder writes the answer."""

    closed_prompt = True

    def _predict(self, batch: list[text.Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
        ids, mask = text.pad([list(e.ids[: -e.answer]) for e in batch], self.device)
        answers, known = text.pad([list(e.ids[-e.answer :]) for e in batch], self.device)
        logits = self.module(
            input_ids=ids, attention_mask=mask, decoder_input_ids=self._shifted(answers), use_cache=False
        ).logits
        return expanded(logits).float(), answers.masked_fill(known == 0, text.IGNORED)

    def _label_losses(self, prompts: list[list[int]], answers: list[list[int]]) -> np.ndarray:
        n, k = len(prompts), len(answers)
        ids, mask = text.pad(prompts, self.device)
        tokens, known = text.pad(answers, self.device)
        read = self.module.get_encoder()(input_ids=ids, attention_mask=mask)
        read.last_hidden_state = read.last_hidden_state.repeat_interleave(k, 0)
        logits = self.module(
            encoder_outputs=read,
            attention_mask=mask.repeat_interleave(k, 0),
            decoder_input_ids=self._shifted(tokens).repeat(n, 1),
            use_cache=False,
        ).logits.float()
        return _of_answers(logits.view(n, k, tokens.shape[1], -1), tokens, known)

    def seen(self, batch: list[text.Encoded]) -> torch.Tensor:
        ids, mask = text.pad([list(e.ids[: -e.answer]) for e in batch], self.device)
        answers, _ = text.pad([list(e.ids[-e.answer :]) for e in batch], self.device)
        out = self.module(
            input_ids=ids,
            attention_mask=mask,
            decoder_input_ids=self._shifted(answers),
            output_hidden_states=True,
            use_cache=False,
        )
        last = torch.tensor([e.answer - 1 for e in batch], device=self.device)  # it has just read the last answer token
        return out.decoder_hidden_states[-1][torch.arange(len(batch), device=self.device), last]

    def _shifted(self, answers: torch.Tensor) -> torch.Tensor:
        start = torch.full_like(answers[:, :1], self.module.config.decoder_start_token_id)
        return torch.cat([start, answers[:, :-1]], 1)


def _of_answers(logits: torch.Tensor, tokens: torch.Tensor, known: torch.Tensor) -> np.ndarray:
    """Summed cross-entropy of answers [k, longest] under logits [n, k, longest, vocabulary]; float64 [n, k]."""
    return _summed(expanded(logits), tokens.masked_fill(known == 0, text.IGNORED).expand(logits.shape[:3]))


def _summed(logits: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    """Summed cross-entropy of targets [..., tokens] under logits [..., tokens, vocabulary]; float64 [...]."""
    flat = logits.flatten(0, -2), targets.flatten()
    losses = cross_entropy(*flat, ignore_index=text.IGNORED, reduction="none")
    return losses.view(targets.shape).double().sum(-1).cpu().numpy()


def reads_on(module: Any) -> bool:
    """Whether labels may be read after padded prompts that were read once, as if there were no padding.

    An encoder's reading may, since the decoder starts anew. A causal model has to see at each token all before it, and to be
    told positions; where its layers see less (a window, a state), or its code is unknown, the answer is no.
    """
    config = module.config
    if config.is_encoder_decoder:
        return True
    if not type(module).__module__.startswith("transformers."):
        return False
    if "position_ids" not in inspect.signature(module.forward).parameters:  # distances are counted over the padding
        return False
    if (layers := getattr(config, "layer_types", None)) is not None:
        return set(layers) == {"full_attention"}
    return not any(value for key, value in config_facts(config).items() if re.search("window|chunk|state", key))


def text_facts(tokenizer: Any, spec: ModelSpec) -> list[Any]:
    """What decides how a scenario's texts become numbers, as JSON values."""
    rendered = [chat.facts(tokenizer, spec.chat_date)] if spec.chat else []
    return [tokenizer_facts(tokenizer), *rendered]


def tokenizer_facts(tokenizer: Any) -> list[Any]:
    """What decides how a text becomes numbers, as JSON values."""
    words = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else tokenizer.get_vocab()
    return [words, tokenizer.eos_token_id, tokenizer.chat_template]
