"""The study: everything that is decided before the first round, as frozen typed objects.

A study is one TOML file (`fedsurg.study_file.load`). Each class below is one table of it; the docstring of a class
and the comments beside its keys are the reference for that table. Where the literature is silent a default is a
decision: a key, never a constant in code.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Scope = Literal["shared", "site", "frozen"]
Part = Literal["encoder", "query", "temporal", "gate", "adapters", "decoder", "head"]
Colour = Literal["rgb", "log_opponent"]

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=10**18)]  # torch's generators take 64 bits
Rate = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Scales = Annotated[tuple[Annotated[float, Field(ge=0.25, le=4)], ...], Field(min_length=1)]
Factors = Annotated[tuple[Positive, ...], Field(min_length=1)]
Targets = Annotated[tuple[Literal["kv", "proj"], ...], Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Size = tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]]
Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]  # or empty
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class Section(BaseModel):
    """A table of the study file: immutable; an unknown key and a number that is not finite are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TaskConfig(Section):
    """`[task]`: what every pixel is to be called, and at which size frames are seen."""

    kind: Literal["segmentation"] = "segmentation"
    classes: tuple[str, ...] = ("background", "instrument")  # the first one is the background
    includes: dict[str, tuple[str, ...]] = {}  # class -> names that sites may use for its parts
    image_size: Size = (128, 160)  # height, width in pixels

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes must be two or more different names, got {list(self.classes)}")
        unknown = sorted(set(self.includes) - set(self.classes))
        if unknown:
            raise ValueError(f"includes names {unknown}, which are no classes of {list(self.classes)}")
        parts = [part for names in self.includes.values() for part in names]
        double = sorted({part for part in parts if parts.count(part) > 1 or part in self.classes})
        if double:
            raise ValueError(f"includes lists {double} twice, or as part of a class of that name; a part has one class")
        return self


class TemporalConfig(Section):
    """`[network.temporal]`: attention from the current frame to the `frames` before it."""

    enabled: bool = True
    frames: Positive = 3
    channels: Positive = 64
    heads: Positive = 4
    pooling: Factors = (2, 4, 8)  # history tokens are average-pooled by these factors
    feed_forward: Positive = 3
    history_gradient: bool = False  # train through the features of past frames too

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.channels % self.heads:
            raise ValueError(f"channels ({self.channels}) must be a multiple of heads ({self.heads})")
        return self


class GateConfig(Section):
    """`[network.gate]`: the text gate; `prompt` may use {site} and {procedure}."""

    enabled: bool = True
    text: Literal["onehot", "sentence", "clip"] = "sentence"
    text_model: str = ""  # file of `study text-vectors`, or folder or hub name of an encoder; empty: shipped vectors
    text_model_sha256: Sha256 = ""  # of that file; filled in if left out, empty for a folder or hub name
    prompt: str = "surgical instruments in {procedure} at {site}"


class AdaptersConfig(Section):
    """`[network.adapters]`: low-rank site adapters (LoRA) on the encoder's attention."""

    enabled: bool = True
    rank: Positive = 4
    alpha: Rate = 4.0
    targets: Targets = ("kv", "proj")


class NetworkConfig(Section):
    """`[network]`: backbone and decoder."""

    encoder: str = "pvt_v2_b0"  # any timm backbone with a feature pyramid and a separate query projection
    encoder_weights: str = ""  # local file or hub name; empty: random weights
    encoder_weights_sha256: Sha256 = ""  # of that file; filled in if left out, empty for a hub name
    colour: Colour = "rgb"  # what the encoder sees; weights that others trained expect rgb
    pyramid_channels: Positive = 256
    segmentation_channels: Positive = 128
    temporal: TemporalConfig = TemporalConfig()
    gate: GateConfig = GateConfig()
    adapters: AdaptersConfig = AdaptersConfig()


class FederationConfig(Section):
    """`[federation]`: rounds, and what the server accepts."""

    rounds: Positive = 12
    quorum: Count = 0  # accepted replies a round needs; 0: all federated sites
    deadline_s: Rate = 3600.0  # seconds a round waits for replies
    weights: Literal["uniform", "samples"] = "uniform"
    max_samples: Positive = 1_000_000  # a reply that claims more is refused
    max_update_norm: Rate = 1000.0  # L2 norm of (reply - sent)
    minimum_samples: Positive = 1

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.minimum_samples > self.max_samples:
            raise ValueError(f"minimum_samples ({self.minimum_samples}) is above max_samples ({self.max_samples})")
        return self


class AugmentationConfig(Section):
    """`[local.augmentation]`: random changes, the same for every frame of a clip."""

    flip: bool = True
    scale: tuple[Rate, Rate] = (0.5, 2.0)
    brightness: Weight = 0.3
    contrast: Weight = 0.3
    saturation: Weight = 0.3
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    blur: Annotated[float, Field(ge=0, le=1)] = 0.0  # probability
    noise: Weight = 0.0  # largest standard deviation, in units of the 0-1 pixel range
    rotation: Weight = 0.0  # degrees
    apparent_width: Share = 0.0  # clips are enlarged until instruments are that wide, in frame heights; 0: they are not
    pale_tissue: Share = 0.0  # probability of pale strips and patches behind instruments; the clip stands still
    reflections: Share = 0.0  # probability that instruments show the tissue's colour; the clip stands still


class MagnificationConfig(Section):
    """`[local.magnification]`: under fedst-own and fedavg-own a site enlarges its frames, so that its instruments look
    as wide as everybody's. The factor is found in the site's own training labels, where every class but the background
    counts as instrument, and never sent.
    """

    apparent_width: Share = 0.1  # of instruments, in frame heights, as in simulated abdomens; 0: none magnifies
    largest: Annotated[float, Field(ge=1, le=4)] = 2.0  # the factor is at most that; scoring takes its square in time


class LocalConfig(Section):
    """`[local]`: what a site does in one round."""

    steps: Positive = 10
    batch_size: Positive = 8
    learning_rate: Rate = 1e-4
    site_rate_factor: Rate = 1.0  # learning rate of site-scoped tensors, relative
    weight_decay: Weight = 1e-2
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: Count = 0
    gradient_clip: Rate = 1.0
    cross_entropy: Weight = 0.7
    jaccard: Weight = 0.3
    keep_optimiser: bool = True
    proximal_mu: Weight = 0.01  # fedprox: mu / 2 times the squared distance from the received model joins the loss
    head_share: Annotated[float, Field(gt=0, lt=1)] = 0.5  # fedrep: this share of a round's steps trains the head alone
    personal_lambda: Weight = 1.0  # ditto: lambda / 2, likewise, for the site's own model
    own_decay: BelowOne = 0.5  # fedst-own, fedavg-own: what a site's own model keeps of itself in a round
    start_share: BelowOne = 0.25  # fedst-own, fedavg-own: share of the start in a site's own model
    mixed_precision: Literal["auto", "off", "bf16"] = "auto"
    augmentation: AugmentationConfig = AugmentationConfig()
    magnification: MagnificationConfig = MagnificationConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.cross_entropy and not self.jaccard:
            raise ValueError("cross_entropy and jaccard are both 0, so there is nothing to learn by; raise one of them")
        return self


class PretrainConfig(Section):
    """`[server.pretrain]`: the start that every method begins from, trained on synthetic video.

    With a start file and no `further_steps` nothing is trained; of the keys below, only `augmentation` has an effect
    then, on the server's steps in the rounds.
    """

    start: str = ""  # empty: train one; `shipped`: the one in the package; else a file that `fedsurg pretrain` made
    start_sha256: Sha256 = ""  # of that file; filled in if left out
    further_steps: Count = 0  # that a start file is trained for on this study's video; 0: it is taken as it is
    steps: Count = 900
    batch_size: Positive = 8
    learning_rate: Rate = 5e-4
    warmup_steps: Count = 50
    muon: Weight = 0.0  # matrices and kernels by Muon, at this many times the learning rate; 0: AdamW for all
    deep_supervision: Weight = 0.0  # weight of the loss at each of the encoder's strides 8, 16 and 32
    ema_decay: BelowOne = 0.0  # the start is the moving average of the weights; 0: the last
    augmentation: AugmentationConfig = AugmentationConfig()

    @property
    def training_steps(self) -> int:
        """Steps before the first round: of the start file's weights, or of random ones."""
        return self.further_steps if self.start else self.steps


class SerqConfig(Section):
    """`[server.serq]`: synthetic explicit representation quantification (FedST, arXiv 2506.23759)."""

    steps_descriptor: Count = 50  # SERQ-a: the pre-trained copy and the domain descriptor
    steps_global: Count = 50  # SERQ-b: the global model towards the explicit instrument target
    lambda_2: Weight = 0.1
    lambda_3: Weight = 0.1
    moving_average: Literal["weights", "features"] = "weights"  # what F_ema is the moving average of
    ema_decay: Annotated[float, Field(ge=0, le=1)] = 0.99
    descriptor: bool = True  # false: D = 0
    descriptor_rank: Count = 4
    mask_dilation_px: Count = 5
    outside_weight: Weight = 0.1
    collapse_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.01


class ServerConfig(Section):
    """`[server]`: the server's own learning on synthetic video."""

    batch_size: Positive = 8
    rate_factor: Rate = 0.1  # server learning rate relative to `local.learning_rate`
    start_share: Share = 0.5  # fedst-own, fedavg-own: share of the start in the model for hospitals that take no part
    pretrain: PretrainConfig = PretrainConfig()
    serq: SerqConfig = SerqConfig()


class SyntheticConfig(Section):
    """`[synthetic]`: the server's labelled simulator video."""

    profiles: tuple[str, ...] = (
        "abdominal",
        "kidney_bed",
        "prostate_fossa",
        "uterus",
        "stomach",
        "thoracic",
        "eye",
    )
    clips: Positive = 100
    frames: Positive = 6
    seed: Seed = 1
    size: Size | None = None  # height, width; none: the task's image size
    plain: tuple[Literal["lighting", "texture", "instruments", "nuisance"], ...] = ()  # left out, to see its worth
    worn: bool = False  # a worn camera: bent lens, drops and mist on it, interlaced or poor recordings
    whole_instruments: bool = False  # label instruments as a whole: cut-outs without part masks need it
    backgrounds: str = ""  # folder of photographs used instead of rendered tissue, relative to the working directory
    backgrounds_sha256: Sha256 = ""  # of its pictures' names and bytes; filled in if left out
    instruments: str = ""  # folder of cut-outs (RGBA png) used instead of rendered instruments
    instruments_sha256: Sha256 = ""  # of its pictures' names and bytes; filled in if left out


class SimulatedSite(Section):
    """`[sites.simulate]`: a hospital drawn by the simulator."""

    profiles: tuple[str, ...]
    cases: Positive = 6
    clips: Positive = 12
    frames: Positive = 6
    val_cases: Count = 1
    test_cases: Count = 0
    seed: Seed = 0
    worn: bool = False  # a worn camera, as in `[synthetic]`
    whole_instruments: bool = False


class SiteConfig(Section):
    """`[[sites]]`: a hospital; its data is drawn by the simulator or lies in a folder below `--data`."""

    name: Name
    procedure: str
    role: Literal["federated", "unseen"] = "federated"
    folder: str = ""  # below --data, or an absolute path; empty: the site's name
    simulate: SimulatedSite | None = None


class EvaluationConfig(Section):
    """`[evaluation]`: which cases are held out, and how scores are made."""

    folds: Count = 0  # 0: the manifest's splits; n: each case left out once, dealt over n folds
    leave_one_site_out: bool = False  # each federated site in turn trains nothing and is scored as an unseen one
    unseen_cases: Literal["held_out", "all"] = "held_out"
    every: Positive = 1  # validate in every n-th round, and in the last
    max_frames: Count = 0  # frames per validation in a round; 0: all. With choose = "last", the last is on all
    choose: Literal["last", "best"] = "last"  # round of the own model; `best` needs test cases at each site, no folds
    mean_query: bool = False  # also score unseen sites with the mean of all private queries; in simulations only
    scales: Scales = (1.0,)  # of the (magnified) image size: a finished model's probabilities are averaged over these
    confidence: Weight = 0.0  # sizes count by exp(confidence x the IoU that the network expects there); 0: all alike
    mirrored: bool = False  # and over each frame's mirror image; both cost scoring time alone; not in rounds
    decision: Literal["pixel", "overlap"] = "pixel"
    sureness: Share = 0.0
    tolerance_px: Rate = 3.0  # of the surface distance (NSD), in pixels of the label image
    bootstrap: Positive = 2000

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.confidence and len(self.scales) == 1:
            raise ValueError(
                f"confidence is {self.confidence:g}, but there is one size to trust in scales; give two or more, as in "
                "scales = [0.7, 1.0, 1.4, 2.0], or set confidence = 0"
            )
        if self.folds == 1:
            raise ValueError("folds is 1, and then nothing would be left to train on; set 2 or more, or 0")
        if self.folds and self.choose == "best":
            raise ValueError(
                f"folds is {self.folds} and choose is 'best', but the cases of a fold are scored, and no round may be "
                "chosen on them; set folds = 0 or choose = 'last'"
            )
        if self.folds and self.leave_one_site_out:
            raise ValueError(
                f"folds is {self.folds} and leave_one_site_out is true, but a run leaves out either cases or sites; "
                "set folds = 0 or leave_one_site_out = false"
            )
        return self


class AdaptationConfig(Section):
    """`[adaptation]`: fitting the private part of the finished model to a few cases of each unseen site."""

    enabled: bool = False  # score, beside the global model, one whose private part was adapted
    cases: Annotated[int, Field(ge=2)] = 2  # of the unseen site's train split, at most; the first by name
    steps: Positive = 40  # at most; how many are taken is decided on left-out cases among the few
    learning_rate: Rate = 5e-4  # constant
    check_every: Positive = 10  # steps between two checks on the left-out cases
    naive: bool = False  # also score the known-bad control: all parameters trained for all steps, without a guard

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.naive and not self.enabled:
            raise ValueError("naive is the control of an adaptation; set enabled = true, or naive = false")
        return self


class Study(Section):
    """One study: the whole file. `fedsurg.study_file.load.load_study` reads and checks it."""

    name: Name
    seed: Seed = 0
    methods: tuple[str, ...] = ("fedst", "fedavg", "local")
    task: TaskConfig = TaskConfig()
    network: NetworkConfig = NetworkConfig()
    sharing: dict[Part, Scope] = {}  # overrides the scope of a part; under local and central only frozen has an effect
    federation: FederationConfig = FederationConfig()
    local: LocalConfig = LocalConfig()
    server: ServerConfig = ServerConfig()
    synthetic: SyntheticConfig = SyntheticConfig()
    sites: tuple[SiteConfig, ...] = ()
    evaluation: EvaluationConfig = EvaluationConfig()
    adaptation: AdaptationConfig = AdaptationConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [site.name for site in self.sites]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"sites: {twice[0]!r} appears {names.count(twice[0])} times; site names must differ")
        if not self.federated:
            raise ValueError("sites: none is federated; list at least one [[sites]] with role = 'federated'")
        at_once = len(self.federated) - self.evaluation.leave_one_site_out
        if not at_once:
            raise ValueError("evaluation.leave_one_site_out needs two federated sites or more; add a site")
        if self.adaptation.enabled and self.evaluation.unseen_cases == "all":
            raise ValueError(
                "evaluation.unseen_cases is 'all', but an adaptation trains on some of these cases; set it to "
                "'held_out', or adaptation.enabled = false"
            )
        if self.federation.quorum > at_once:
            verb = "train at once" if self.evaluation.leave_one_site_out else "are federated"
            raise ValueError(f"federation.quorum is {self.federation.quorum}, but only {at_once} sites {verb}")
        self._check_seeds()
        return self

    def _check_seeds(self) -> None:
        """The same seed draws the same cases: what one site holds out, another or the server would train on."""
        drawn = {self.synthetic.seed: "the server's video"}
        for site in self.sites:
            if site.simulate and site.simulate.seed in drawn:
                raise ValueError(
                    f"sites: {site.name!r} and {drawn[site.simulate.seed]} are drawn from the same seed "
                    f"{site.simulate.seed}, so they would hold the same cases; give every sites.simulate.seed a number "
                    "of its own, and not that of synthetic.seed"
                )
            if site.simulate:
                drawn[site.simulate.seed] = repr(site.name)

    @property
    def federated(self) -> tuple[SiteConfig, ...]:
        """The sites that train."""
        return tuple(site for site in self.sites if site.role == "federated")

    @property
    def unseen(self) -> tuple[SiteConfig, ...]:
        """The sites that only test the global model."""
        return tuple(site for site in self.sites if site.role == "unseen")

    @property
    def quorum(self) -> int:
        """Accepted replies a round needs."""
        return self.federation.quorum or len(self.federated)

    def resolved(self) -> dict[str, Any]:
        """The study with every default filled in, as plain values."""
        return self.model_dump(mode="json")
