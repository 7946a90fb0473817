"""Every setting of ra3, by section. The text under a setting is its help, its type holds its bounds.

The defaults are for real language models of 0.1 to 8 billion parameters, as far as docs/real-models.md shows; what the
embedded worlds need is in their recipes. "ours": the RA3 paper (arXiv 2509.25810) leaves it open.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from ra3.config.conflicts import Conflicts, of_rewards, of_rollouts, of_shards, of_sizes

Advantage = Literal["leave_one_out", "group_mean", "group_std", "batch_std", "none", "iwae"]
Method = Literal[
    "ra3", "branches", "ntp", "mixed", "distilled", "bootstrap", "hindsight", "iwae", "brite", "rlp", "rlpt"
]  # fmt: skip
RlvrMethod = Literal[
    "policy_gradient", "gspo", "pacs", "mdpo", "aipo", "lp_reg", "rover", "prorl", "scale_rl", "spo",
    "direct_advantage", "pass_at_k", "forking_tokens", "rlpr", "verifree", "latro", "sar", "laser", "random_reward",
    "inverted_reward", "tree_po", "rest_grpo", "guide", "critique_grpo", "dars", "mopps", "shuffle_r1", "pods",
    "sample_replay", "length_stages", "subnetwork", "nlpo", "grpo_roc", "zero_search", "ssrl", "supo", "archer",
]  # fmt: skip
Name = Annotated[str, Field(min_length=1)]
PositiveInt = Annotated[int, Field(ge=1)]
Probability = Annotated[float, Field(gt=0, lt=1)]
ClipRange = tuple[Probability, Annotated[float, Field(gt=0, le=100)]]
StickyPrior = tuple[Probability, Annotated[int, Field(ge=2)]]
ThinkFloor = tuple[Annotated[float, Field(gt=0, le=1)], PositiveInt]
PLACE = re.compile(r"([\w+-]+:)?(.*)", re.DOTALL)


def place(text: str) -> str:
    """A path as the settings hold it: `~` is the home folder, `./` and a last slash are dropped; a benchmark's name may
    stand before it. ValueError where no such home is known.

    place("humaneval:~/data//a.jsonl") == "humaneval:/home/me/data/a.jsonl"
    """
    benchmark, path = cast(re.Match[str], PLACE.fullmatch(text)).groups(default="")
    try:
        return benchmark + (path and str(Path(path).expanduser()))
    except RuntimeError:
        raise ValueError(f"no home folder is known for {path.partition('/')[0]}") from None


def power_of_two(number: int) -> int:
    """The number. ValueError where it is no power of two."""
    if number & (number - 1):
        raise ValueError(f"{number} is not a power of two")
    return number


Place = Annotated[str, AfterValidator(place)]
PowerOfTwo = Annotated[int, AfterValidator(power_of_two)]
CLIP = "LOW,HIGH with 0 < LOW < 1 and 0 < HIGH <= 100"


class Section(BaseModel):
    """A group of settings: frozen, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _from_text(cls, value: Any, info: ValidationInfo) -> Any:
        """Reads a flag's text: none, and lists with commas, in double quotes where a word has one. A truth value is
        not taken for a number."""
        kind = cls.model_fields[info.field_name or ""].annotation
        kinds = (kind, *get_args(kind))
        if isinstance(value, bool) and kind is not bool:
            raise ValueError("true and false are no numbers")
        if not isinstance(value, str):
            return value
        if value.lower() == "none" and type(None) in kinds:
            return None
        if any(get_origin(kind) is tuple for kind in kinds):
            words = next(csv.reader([re.sub(r"[\r\n]", " ", value.strip("[]"))], skipinitialspace=True), [])
            return [part.strip() for part in words if part.strip()]
        return value


class RunSettings(Section):
    """Seed, folder and machine."""

    seed: int = Field(default=0, ge=0)
    """Seed of everything random. On a CPU the same seed gives the same metrics.jsonl, byte for byte."""
    out: Place = Field(default="runs", min_length=1)
    """Folder that holds the run folders."""
    name: str | None = Field(default=None, pattern=r"^\w[\w.-]*$", examples=["letters, digits, '.', '_' and '-'"])
    """Name of the run folder. none: <command>-<model>-<8 hex digits of the settings>."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", examples=["auto | cpu | cuda | cuda:N"])
    """Where the model runs. auto: the first GPU if there is one, else the CPU."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the forward pass. The weights and the optimiser stay in float32."""
    threads: int = Field(default=0, ge=0)
    """CPU threads for the model. 0: every core, or with several ranks a rank's share of them."""
    lanes: PowerOfTwo = Field(default=1, ge=1, le=1024, examples=["1, 2, 4, 8, 16 ... 1024"])
    """Shares that the work of a step is cut into. Ranks (`--ranks`) do whole lanes: how many ranks there
    are does not change a bit, how many lanes does."""
    checkpoint_every_s: float = Field(default=60.0, ge=0)
    """Seconds between checkpoints, or more where saving would take over 5% of the time; two are kept. 0: every step."""
    shard: bool = False
    """With several ranks: each holds a share of weights, gradients and optimiser state (FSDP2), not all of them."""
    stuck_after_s: float = Field(default=3600.0, gt=0)
    """End the run when nothing moves for this long (seconds), saying in what; the stacks of all threads are kept."""
    rollouts: Literal["native", "vllm", "vllm-ahead"] = "native"
    """What writes programs in RLVR and evaluation. vllm: a server in an environment of its own (docs/scale.md).
    vllm-ahead: it writes those of RLVR's next step while one is learned from, by weights that are one update older."""
    benchmarks: tuple[Place, ...] = Field(default=(), examples=["NAME or NAME:FILE, with commas between"])
    """Benchmarks (NAME or NAME:FILE) to be measured by: what overlaps them is left out of training, and listed."""


class LoraSettings(Section):
    """An adapter (LoRA, by peft) that learns in the place of all weights: in the E-step, the M-step and RLVR."""

    rank: int = Field(default=0, ge=0)
    """Its rank, r in peft. 0: no adapter, all weights learn."""
    alpha: PositiveInt = 32
    """What it adds is multiplied by alpha / rank, lora_alpha in peft."""
    targets: tuple[Name, ...] = Field(default=("all-linear",), min_length=1, examples=["names, with commas"])
    """Which matrices it stands beside, target_modules in peft: all-linear, or names such as q_proj,v_proj."""


class ModelSettings(Section):
    """Any causal language model of Hugging Face's transformers."""

    path: Place = Field(default="functions", min_length=1)
    """Folder of model and tokenizer, GGUF file, ORG/NAME[@REVISION]; a world: functions, word-problems, look-ups."""
    weights: Literal["pretrained", "random"] = "pretrained"
    """random: take the configuration and the tokenizer of `path`, draw the weights from the seed."""
    opener: str | None = Field(default=None, pattern=r"^(#|<\S+>|\[\S+\])$", examples=["# or <|NAME|>"])
    """What opens a latent: #, or a special token, added where there is none. none: what `path` says, or #."""
    prompt: Literal["auto", "plain", "chat"] = "auto"
    """How problems are put to the model. plain: as text to go on from; chat: as a message in the tokenizer's chat
    template, with a request to complete the program where the problem is one; auto: chat where it asks for a reply and
    there is a template."""
    lora: LoraSettings = LoraSettings()


class CorpusSettings(Section):
    """The expert text."""

    path: Place = Field(default="functions", min_length=1)
    """Folder, .jsonl, .parquet, saved data set; a world: functions, word-problems, look-ups; stdlib (Python's)."""
    pattern: str = Field(default="**/*.py", min_length=1)
    """Which files of a folder are documents (glob). Left as it is, a folder without them is read as its tables."""
    columns: tuple[Name, Name, Name] = Field(default=("text", "context", "id"), examples=["three names, with commas"])
    """Columns or keys (JSONL, Parquet, data set) of the expert text, of the prompt before it (read, never annotated,
    never trained on), and of the document's name. The last two are optional in the data. Left as they are, the text is
    also found under content or code."""
    unit: Literal["file", "function"] = "file"
    """What is one document: a whole file or row, or each of its functions after the imports and class headers that it
    stands under (Python); what stands between functions is a document, too. `ra3 annotate` takes whole files."""
    filter: bool = True
    """Cut off licences; leave out generated, packed, data, duplicate and nearly duplicate files and rows, counted by
    rule (docs/corpora.md). Embedded worlds and `ra3 annotate` take everything."""
    steps: Literal["line", "statement", "sentence"] = "line"
    """What one expert step is. The paper: a line."""
    documents: int = Field(default=0, ge=0)
    """Read at most this many documents. 0: all."""
    heldout: float = Field(default=0.05, ge=0, lt=1)
    """Share of the documents kept out of training, to measure on; of a corpus of your own at least 1, at most 32."""
    heldout_path: Place | None = Field(default=None, min_length=1)
    """Text of its own to measure on, named and read as `path` is: `heldout` is the share of its documents that is used,
    at least 1, and all of `path` is trained on. none: documents of `path` are held out."""
    max_tokens: int = Field(default=1024, ge=8)
    """Tokens of a row of expert text with its context. A longer document becomes several, cut between steps."""
    max_bad: float = Field(default=0.1, ge=0, le=1)
    """Stop when more than this share of the documents is unreadable. Up to it they are skipped and reported."""


class EstepSettings(Section):
    """Reinforcement learning finds the latents (E-step)."""

    updates: int | None = Field(default=None, ge=0)
    """Policy updates in an EM round. 0: annotate as it comes. none: 4 rollouts for every 10 documents, at least 8."""
    documents: PositiveInt = 4
    """Documents per update."""
    group_size: PositiveInt = 4
    """Rollouts per document (G); each is judged against the others of its group."""
    switch_penalty: float = Field(default=0.05, ge=0, allow_inf_nan=True, examples=["number >= 0, or inf"])
    """Cost c of opening a new latent, in nats. inf: never think, which is next-token prediction exactly."""
    penalty_growth: float = Field(default=1.0, ge=1)
    """Factor on c from one EM round to the next: cheap while latents are found, dear when chosen among (ours)."""
    exact_prior: StickyPrior | None = Field(default=None, examples=["ALPHA,Z with 0 < ALPHA < 1 and Z >= 2"])
    """Exact sticky prior in the place of switch_penalty: probability alpha of keeping the latent, and number |Z| of
    possible ones. A switch costs log(alpha / (1 - alpha)) + log |Z|, and all that is written its log-probability."""
    likelihood: Literal["sum", "mean"] = "sum"
    """Reward of an expert step: log-likelihood summed over its tokens, or their mean (ours; the paper does not say)."""
    gamma: float = Field(default=1.0, ge=0, le=1)
    """Discount per step."""
    horizon: PositiveInt = 4
    """Steps that a decision answers for (H). 1: only the step it opens."""
    max_latent_tokens: PositiveInt = 16
    """Longest latent, in tokens after the "#". A longer one is cut and pays format_penalty."""
    format_penalty: float = Field(default=1.0, ge=0)
    """Cost of a latent that did not end by itself (ours)."""
    advantage: Advantage = "leave_one_out"
    """Baseline among the rollouts of one document at the same step (leave_one_out is ours)."""
    comment_baseline: Literal["thinkers", "all"] = "thinkers"
    """Whom the words of a latent are compared with: the rollouts that thought too, or all (ours)."""
    think_floor: ThinkFloor | None = Field(default=None, examples=["P,N with 0 < P <= 1 and N >= 1"])
    """Least probability P of thinking in the first N updates: latents improve first (ours). P = 1 also holds while
    annotating."""
    learning_rate: float = Field(default=1e-5, ge=0, le=1)
    """Step size."""
    clip: ClipRange = Field(default=(0.2, 0.2), examples=[CLIP])
    """The probability ratio is clipped to [1 - LOW, 1 + HIGH]."""
    document_share: float = Field(default=1.0, gt=0, le=1)
    """Share of the training documents that the E-step draws from."""

    def price(self, em_round: int) -> float:
        """c at the start of an EM round: switch_penalty * penalty_growth ** em_round, in nats."""
        return self.switch_penalty * self.penalty_growth**em_round


class MstepSettings(Section):
    """Next-token prediction on the text with its latents (M-step)."""

    epochs: PositiveInt = 1
    """Passes over the training documents."""
    tokens: int = Field(default=0, ge=0)
    """Train on this many expert and latent tokens instead of whole epochs: equal budgets for two methods. 0: epochs."""
    batch_documents: PositiveInt = 32
    """Documents per update."""
    learning_rate: float = Field(default=5e-5, ge=0, le=1)
    """Peak step size."""
    start: Literal["pi", "q"] = "pi"
    """Weights to start from: pi, those from before the E-step; q, the policy the E-step trained (ours)."""
    latent_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the latents left out of the text before the last EM round, lest every line lean on one (ours)."""
    optimizer: Literal["muon", "adamw"] = "adamw"
    """muon: Muon for the matrices and AdamW for the rest."""
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    """Decoupled weight decay."""


class MidtrainSettings(Section):
    """Mid-training on expert text."""

    method: Method = "ra3"
    """ra3: E-step and M-step. ntp: next-token prediction, the baseline. The others: a file each in ra3/em/methods."""
    em_rounds: PositiveInt = 1
    """Rounds of E-step, annotation and M-step."""
    estep: EstepSettings = EstepSettings()
    mstep: MstepSettings = MstepSettings()


class RlvrSettings(Section):
    """Reinforcement learning with unit tests as reward."""

    method: RlvrMethod = "policy_gradient"
    """policy_gradient: what the settings below say. The others: a file each in ra3/rl/methods."""
    problems: Place = Field(default="functions", min_length=1)
    """Problems with tests: a .jsonl file, benchmark (NAME or NAME:FILE), world (functions, word-problems, look-ups)."""
    reward: Literal["tests", "likelihood"] = "tests"
    """tests: 1 for a program that passes all of its problem's. likelihood: the probability of the problem's reference
    after the policy's own reasoning; the problems need no tests, but a reference (docs/methods.md)."""
    steps: int = Field(default=30, ge=0)
    """Times that problems are drawn, programs sampled and learned from."""
    epochs: PositiveInt = 1
    """Policy updates on the same programs. With 1 every probability ratio is 1, and no clip range matters."""
    batch_problems: PositiveInt = 16
    """Problems per update."""
    samples: PositiveInt = 8
    """Programs sampled per problem; each is judged against the others."""
    refills: int = Field(default=0, ge=0)
    """Times in an update that problems whose programs all score alike make room for others (DAPO). 0: they stay."""
    max_new_tokens: PositiveInt = 512
    """Longest program, in tokens."""
    temperature: float = Field(default=1.0, gt=0, le=10)
    """Sampling temperature."""
    advantage: Advantage = "leave_one_out"
    """Baseline among the programs for one problem."""
    loss: Literal["clip", "cispo"] = "clip"
    """Clipped policy gradient, or CISPO (clipped importance weights)."""
    aggregation: Literal["token_mean", "sequence_mean", "constant"] = "token_mean"
    """What a token weighs: 1 / tokens of the step (DAPO), of its program (GRPO), or max_new_tokens (Dr. GRPO)."""
    clip: ClipRange = Field(default=(0.2, 0.28), examples=[CLIP])
    """The probability ratio is clipped to [1 - LOW, 1 + HIGH]."""
    learning_rate: float = Field(default=2e-6, ge=0, le=1)
    """Step size."""


class EvalSettings(Section):
    """Programs are sampled, run against the tests and counted."""

    problems: Place = Field(default="functions", min_length=1)
    """Problems with tests: a .jsonl file, benchmark (NAME or NAME:FILE), world (functions, word-problems, look-ups)."""
    samples_file: Place | None = Field(default=None, min_length=1)
    """Grade the samples of this file (JSON lines of task_id and completion) instead of sampling a model."""
    per_band: PositiveInt = 100
    """Problems of each band of a world; of a file or a benchmark all, unless this is given."""
    samples: PositiveInt = 20
    """Programs sampled per problem."""
    temperature: float = Field(default=1.0, ge=0, le=10)
    """Sampling temperature. 0: greedy, one sample per problem."""
    max_new_tokens: PositiveInt = 512
    """Longest program, in tokens."""
    k: tuple[PositiveInt, ...] = Field(
        default=(1, 5, 10), min_length=1, examples=["whole numbers >= 1, with commas between"]
    )
    """pass@k is reported for these k, without bias from the samples."""


class SandboxSettings(Section):
    """Where programs under test run."""

    workers: int = Field(default=2, ge=1, le=64)
    """Programs that run at once."""
    cpu_s: float = Field(default=2.0, gt=0, le=3600)
    """CPU seconds a program may use; three times as many by the clock, and more where the host gives it no core."""
    memory_mb: int = Field(default=512, ge=64)
    """Memory a program may use, in MiB."""


class UpdateSettings(Section):
    """One optimiser step."""

    micro_batch_tokens: PositiveInt = 8192
    """Most tokens of a forward and backward pass, on a CPU 2048. Fewer save memory; the result is the same."""
    checkpoint_activations: bool = False
    """Keep only what comes into each layer and compute the rest again: less memory, a forward pass more."""
    max_grad_norm: float = Field(default=1.0, gt=0, allow_inf_nan=True, examples=["number > 0, or inf"])
    """The gradient is scaled down to this norm. inf: never."""


class Config(Section):
    """The whole tree. Settings that contradict each other raise ra3.config.conflicts.Conflicts (a ValueError)."""

    run: RunSettings = RunSettings()
    model: ModelSettings = ModelSettings()
    corpus: CorpusSettings = CorpusSettings()
    midtrain: MidtrainSettings = MidtrainSettings()
    rlvr: RlvrSettings = RlvrSettings()
    eval: EvalSettings = EvalSettings()
    sandbox: SandboxSettings = SandboxSettings()
    update: UpdateSettings = UpdateSettings()

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if found := [*of_rewards(self), *of_sizes(self), *of_shards(self), *of_rollouts(self)]:
            raise Conflicts(found)
        return self

    def flat(self) -> dict[str, Any]:
        """Every setting by its dotted key, in the order of the tree: {"run.seed": 0, "run.out": "runs", ...}."""
        return dict(flatten(self.model_dump()))


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings by dotted key: {"a": {"b": 1}} -> ("a.b", 1). An empty mapping is a leaf."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of flatten: {"a.b": 1} -> {"a": {"b": 1}}."""
    tree: dict[str, Any] = {}
    for dotted, value in flat.items():
        *sections, name = dotted.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[name] = value
    return tree
