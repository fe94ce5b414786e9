"""Write docs/study.md, the reference of every study key, from the models in fedsurg/study/config.py.

    .venv/bin/python docs/make_study_reference.py           write it
    .venv/bin/python docs/make_study_reference.py --check   exit code 1 if the committed file is another

Types, limits and defaults come from the models' JSON schema. What a key means is the comment beside it in the source;
a key whose name leaves nothing to say there is explained in `MEANINGS`. A key with neither is an error.
"""

import inspect
import io
import json
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fedsurg.study.config import Study
from fedsurg.study_file.load import model_in

TARGET = Path(__file__).with_name("study.md")

INTRODUCTION = """\
# The study file

<!-- Made by docs/make_study_reference.py from fedsurg/study/config.py; change those and run it again. -->

A study is one TOML file with everything that is decided before the first round. It is checked once, when it is read:
an unknown key, a wrong type or two values that contradict each other is an error which names the key, the value found
and what is allowed. Only `name` and one federated site are required. The SHA-256 over the study with all defaults
filled in, files and folders by their content instead of their place, is its *digest*; approvals, checkpoints and
reports carry it.

```
fedsurg study show studies/demo.toml                    # digest, sharing contract, bytes a round sends
fedsurg study show studies/demo.toml --method fedavg    # the contract under another method
fedsurg study show studies/demo.toml --json             # the same for programs, with all defaults filled in
```

The shortest useful study, one hospital drawn by the simulator:

```toml
name = "first"

[task]
classes = ["background", "shaft", "wrist", "clasper"]

[[sites]]
name = "north"
procedure = "laparoscopic cholecystectomy"
[sites.simulate]
profiles = ["abdominal"]
```

It first trains a start of its own for 900 steps, which without a GPU is most of the run. `studies/demo.toml` shows how
to begin at the shipped start instead.

## Your own folders

1. Write `site.toml` and a manifest for each hospital's folder ([site-data.md](site-data.md)), all below one folder DIR.
2. Copy `studies/realsites.toml`. Give it one `[[sites]]` for each, with the `name` and `procedure` of its `site.toml`,
   and with `folder` where the folder has another name.
3. The text gate needs a vector for each site's words. `fedsurg study text-vectors STUDY.toml --out vectors.safetensors`
   makes them for `network.gate.text_model`, with an encoder that it names; or set `network.gate.text = "onehot"`, which
   did as well.
4. `fedsurg data check DIR/north --study STUDY.toml` for each folder, then
   `fedsurg simulate STUDY.toml --data DIR --out runs/first`.
"""

MEANINGS = {
    "name": "of the study, in tables and run folders",
    "seed": "of new weights, batches and augmentation; what the simulator draws has seeds of its own",
    "methods": "rows of the methods registry, run in this order: {methods}",
    "task": "table `[task]`",
    "network": "table `[network]`",
    "federation": "table `[federation]`",
    "local": "table `[local]`",
    "server": "table `[server]`",
    "synthetic": "table `[synthetic]`",
    "sites": "one table `[[sites]]` per site",
    "evaluation": "table `[evaluation]`",
    "adaptation": "table `[adaptation]`",
    "task.kind": "the only task so far",
    "network.pyramid_channels": "channels of the decoder's feature pyramid",
    "network.segmentation_channels": "channels of the decoder's fused map",
    "network.temporal": "table `[network.temporal]`",
    "network.gate": "table `[network.gate]`",
    "network.adapters": "table `[network.adapters]`",
    "network.temporal.enabled": "false: every frame is seen alone",
    "network.temporal.frames": "past frames; a short history repeats its oldest frame",
    "network.temporal.channels": "width of the attention, all heads together",
    "network.temporal.heads": "attention heads",
    "network.temporal.feed_forward": "hidden width of the feed-forward layer, relative to `channels`",
    "network.gate.enabled": "false: no gate, under any method",
    "network.gate.text": "where text vectors come from; `onehot` is the control, a site number and nothing else",
    "network.gate.prompt": "template of the text",
    "network.adapters.enabled": "false: no adapters, under any method",
    "network.adapters.rank": "rank of the update B A",
    "network.adapters.alpha": "the update is scaled by alpha / rank",
    "network.adapters.targets": "linear layers of the attention that get one",
    "federation.rounds": "rounds of the study; the learning-rate schedule runs over all of them",
    "federation.weights": "of the average: every site alike, or by its number of training frames",
    "federation.minimum_samples": "a reply that claims fewer is refused",
    "local.augmentation.flip": "left-right, in half of the clips",
    "local.augmentation.scale": "smallest and largest zoom, then a crop to the image size",
    "local.augmentation.brightness": "largest relative change",
    "local.augmentation.contrast": "largest relative change",
    "local.augmentation.saturation": "largest relative change",
    "local.augmentation.hue": "largest shift, in turns of the colour circle",
    "local.steps": "optimiser steps of a site in a round",
    "local.batch_size": "clips per step",
    "local.learning_rate": "of AdamW",
    "local.weight_decay": "of AdamW",
    "local.schedule": "of the learning rate over the whole study",
    "local.warmup_steps": "steps of linear rise at the start of the study",
    "local.gradient_clip": "largest L2 norm of the gradient",
    "local.cross_entropy": "weight of the cross entropy in the loss",
    "local.jaccard": "weight of -log(soft Jaccard) in the loss, over the classes present",
    "local.keep_optimiser": "AdamW's moments stay at the site from round to round; false: new in every round",
    "local.mixed_precision": "bfloat16; `auto`: on CUDA, and on processors that train faster with it",
    "local.augmentation": "table `[local.augmentation]`",
    "local.magnification": "table `[local.magnification]`",
    "server.batch_size": "clips per step of the server's learning after each round",
    "server.pretrain": "table `[server.pretrain]`",
    "server.serq": "table `[server.serq]`",
    "server.pretrain.steps": "optimiser steps from random weights, without a start file; 0: the random weights",
    "server.pretrain.batch_size": "clips per step",
    "server.pretrain.learning_rate": "of AdamW, with cosine decay",
    "server.pretrain.warmup_steps": "steps of linear rise",
    "server.pretrain.augmentation": "keys as in `[local.augmentation]`",
    "server.serq.lambda_2": "weight of the feature distance in SERQ-a",
    "server.serq.lambda_3": "weight of the feature distance in SERQ-b",
    "server.serq.ema_decay": "of the moving average, per round; of features per step of SERQ-a",
    "server.serq.descriptor_rank": "spatial bases of the domain descriptor, beside one vector per channel",
    "server.serq.mask_dilation_px": "the instrument mask that weights both distances is widened by so much",
    "server.serq.outside_weight": "weight of the distances outside that mask; inside it is 1",
    "server.serq.collapse_ratio": "SERQ stops when the target's variance falls below this share of its first value",
    "synthetic.profiles": "anatomies, dealt over the clips (`fedsurg simulator profiles` lists them)",
    "synthetic.clips": "number of clips",
    "synthetic.frames": "consecutive frames in each clip",
    "synthetic.seed": "the same seed gives the same bytes",
    "sites.name": "of the site; also of its data folder",
    "sites.procedure": "surgery type; part of the gate's prompt",
    "sites.role": "`federated` sites train; `unseen` ones only test the global model",
    "sites.simulate": "table `[sites.simulate]`; without it the site has a data folder",
    "sites.simulate.profiles": "anatomies of this hospital",
    "sites.simulate.cases": "number of cases, all splits together",
    "sites.simulate.clips": "number of clips, dealt over the cases",
    "sites.simulate.frames": "consecutive frames in each clip",
    "sites.simulate.val_cases": "cases held out for validation",
    "sites.simulate.test_cases": "cases held out for the test",
    "sites.simulate.seed": "also fixes the hospital's camera and instrument maker",
    "sites.simulate.whole_instruments": "label instruments as a whole, not their parts",
    "evaluation.unseen_cases": "what an unseen site is scored on: its test cases (else val), or all that it has",
    "evaluation.decision": (
        "how a finished model's probabilities become labels: each pixel's likeliest one, or instruments where expected "
        "intersection over expected union is highest"
    ),
    "evaluation.sureness": (
        "what hangs together and is called an instrument stays if its mean probability is at least this share of that "
        "of the frame's surest, specks left out; 0: all stays"
    ),
    "evaluation.bootstrap": "resamples of cases for the 95 % intervals",
}

_TABLE = re.compile(r"`(\[.+?\])`: ")


def reference() -> str:
    """The whole page."""
    from fedsurg.methods.registry import METHODS

    unused = set(MEANINGS)
    methods = ", ".join(f"`{method}`" for method in METHODS)
    tables = [_table(model, path, unused) for model, path in _models(Study, "")]
    if unused:
        raise SystemExit(f"MEANINGS explains {sorted(unused)}, which are no keys of a study; remove them")
    return "\n".join([INTRODUCTION, *tables]).replace("{methods}", methods)


def _models(model: type[BaseModel], path: str) -> Iterator[tuple[type[BaseModel], str]]:
    """Every table of the study once, parents first, with its dotted path."""
    seen: set[type[BaseModel]] = set()

    def walk(model: type[BaseModel], path: str) -> Iterator[tuple[type[BaseModel], str]]:
        if model in seen:
            return
        seen.add(model)
        yield model, path
        for name, field in model.model_fields.items():
            inner = model_in(field.annotation)
            if inner:
                yield from walk(inner, f"{path}.{name}".lstrip("."))

    return walk(model, path)


def _table(model: type[BaseModel], path: str, unused: set[str]) -> str:
    """One table of the study: heading, the class's docstring, one row per key."""
    text = inspect.cleandoc(model.__doc__ or "")
    heading = _TABLE.match(text)
    title = f"`{heading[1]}`" if heading else "The top of the file"
    schema = model.model_json_schema()
    comments = _comments(model)
    about = _sentence(text[heading.end() :]) if heading else "Keys that stand before the first table."
    lines = [f"## {title}", "", about, "", "| key | value | default | meaning |", "|---|---|---|---|"]
    for name in model.model_fields:
        key = f"{path}.{name}".lstrip(".")
        unused.discard(key)
        meaning = comments.get(name) or MEANINGS.get(key)
        if not meaning:
            raise SystemExit(f"{key} is not explained; put a comment beside it in fedsurg/study/config.py")
        inner = model_in(model.model_fields[name].annotation)
        property_ = schema["properties"][name]
        kind = "tables" if property_.get("type") == "array" and inner else "table" if inner else None
        kind = kind or _kind(property_, schema.get("$defs", {}))
        default = "required" if name in schema.get("required", ()) else "" if inner else _default(property_)
        lines.append(f"| `{name}` | {kind} | {default} | {_cell(meaning)} |")
    return "\n".join([*lines, ""])


def _comments(model: type[BaseModel]) -> dict[str, str]:
    """Key -> the comment on the line where its definition ends."""
    source = inspect.cleandoc("\n" + inspect.getsource(model))
    found: dict[str, str] = {}
    key, depth = "", 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.OP:
            depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(token.string, 0)
        starts_line = not token.line[: token.start[1]].strip()
        if token.type == tokenize.NAME and not depth and starts_line and token.string in model.model_fields:
            key = token.string
        elif token.type == tokenize.COMMENT and key and not starts_line and not depth:
            found[key] = token.string.lstrip("# ")
        elif token.type == tokenize.NEWLINE:
            key = ""
    return found


def _kind(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What a key takes, in words."""
    if "$ref" in schema:
        return _kind(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return " or ".join(_kind(one, definitions) for one in schema["anyOf"] if one.get("type") != "null")
    choices = schema.get("enum") or [schema[key] for key in ("const",) if key in schema]
    if choices:
        return " or ".join(f'`"{value}"`' for value in choices)
    if schema["type"] in ("array", "object"):
        return _container(schema, definitions)
    if schema["type"] == "string":
        return f"text like `{schema['pattern']}`" if "pattern" in schema else "text"
    return "true or false" if schema["type"] == "boolean" else f"{schema['type']}{_limits(schema)}"


def _container(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "prefixItems" in schema:
        return f"{len(schema['prefixItems'])} x {_kind(schema['prefixItems'][0], definitions)}"
    if schema["type"] == "array":
        return f"list of {_kind(schema['items'], definitions)}"
    keys = schema.get("propertyNames")
    names = f" with keys {_kind(keys, definitions)}" if keys else ""
    return f"table of {_kind(schema['additionalProperties'], definitions)}{names}"


def _limits(schema: dict[str, Any]) -> str:
    words = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    limits = [f"{sign} {schema[key]:g}" for key, sign in words.items() if key in schema]
    return f" {' and '.join(limits)}" if limits else ""


def _default(schema: dict[str, Any]) -> str:
    value = schema["default"]
    return "none" if value is None else f"`{json.dumps(value) if value != {} else '{}'}`"


def _sentence(text: str) -> str:
    """Starts with a capital letter, as it follows a heading."""
    return text[:1].upper() + text[1:]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write or check."""
    page = reference()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(page, encoding="utf-8")
    elif not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != page:
        raise SystemExit(f"{TARGET} is not up to date; run {Path(__file__).name} and commit the result")


if __name__ == "__main__":
    main()
