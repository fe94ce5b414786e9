"""A study in plain words, for the person in a hospital who decides on it."""

import math
from collections.abc import Mapping
from typing import Any

from fedsurg.methods.registry import METHODS
from fedsurg.report.wording import plural, size
from fedsurg.sharing.contract import Contract, Entry
from fedsurg.study.config import Study
from site_client.policy import METRICS, PolicyConfig

_PARTS: Mapping[str, str] = {
    "encoder": "picture features",
    "query": "query projections: what the network looks for",
    "temporal": "attention to earlier frames",
    "gate": "text gate: hospital and procedure",
    "adapters": "low-rank site adapters",
    "decoder": "decoder: from features to a mask",
    "head": "last layer: from features to classes",
}


def grouped(entries: Mapping[str, Entry]) -> list[dict[str, Any]]:
    """Tensors by the module they are in: one row per part and first two words of the name."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for name, entry in entries.items():
        words = name.split(".")
        stem = ".".join(words[:2]) + (".*" if len(words) > 2 else "")
        row = rows.setdefault((entry.part, stem), {"part": entry.part, "names": stem, "tensors": 0, "bytes": 0})
        row["tensors"] += 1
        row["bytes"] += entry.bytes
    return list(rows.values())


def review_facts(study: Study, digest: str, method: str, contract: Contract, policy: PolicyConfig) -> dict[str, Any]:
    """All that a review says, as plain values."""
    own = sum(entry.bytes for entry in contract.entries) if METHODS[method].own_model else 0
    factor = study.local.magnification
    return {
        "name": study.name,
        "digest": digest,
        "contract": contract.digest,
        "method": method,
        "classes": list(study.task.classes),
        "image_size": list(study.task.image_size),
        "rounds": study.federation.rounds,
        "steps": study.local.steps,
        "batch_size": study.local.batch_size,
        "validation_frames": study.evaluation.max_frames,
        "deadline_s": study.federation.deadline_s,
        "sites": [{"name": site.name, "procedure": site.procedure, "role": site.role} for site in study.sites],
        "leaves": {
            "bytes_per_round": contract.bytes_per_message,
            "bytes_total": contract.bytes_per_message * study.federation.rounds,
            "tensors": [{"name": e.name, "shape": list(e.shape), "bytes": e.bytes} for e in contract.shared.values()],
            "groups": grouped(contract.shared),
            "metrics": [name for name in METRICS if name not in policy.withhold],
        },
        "stays": {
            "groups": grouped(contract.site),
            "bytes": sum(e.bytes for e in contract.site.values()) + own,
            "own_model_bytes": own,
            "own_model_follows": METHODS[method].own_model_follows,
            "magnified_at_most": factor.largest if METHODS[method].magnified and factor.apparent_width else 1.0,
        },
    }


def review_text(facts: Mapping[str, Any], *, tensors: bool = False) -> str:
    """The review for a person.

    Args:
        facts: of `review_facts`.
        tensors: list every tensor by name instead of groups.
    """
    leaves, stays = facts["leaves"], facts["stays"]
    rounds, deadline = facts["rounds"], facts["deadline_s"]
    height, width = facts["image_size"]
    lines = [
        f"Study {facts['name']}, method {facts['method']}",
        "",
        "What is trained",
        f"  A network that marks {', '.join(facts['classes'])} in pictures of {height} x {width} pixels. It is trained",
        f"  on this hospital's own frames, on this hospital's machine: {plural(rounds, 'round')} of "
        f"{plural(facts['steps'], 'step')}, each on",
        f"  {plural(facts['batch_size'], 'clip')}.",
        f"  Taking part: {', '.join(site['name'] for site in facts['sites'] if site['role'] == 'federated')}.",
        "",
        "How long",
        f"  {plural(rounds, 'round')}, and the last model is delivered. Each ends when all sites have answered, after",
        f"  {_time(deadline)} at the latest, and begins when enough sites are there, which may take as long again:",
        f"  {_time(2 * (rounds + 1) * deadline)} at most, beside what the server computes.",
        "",
        f"What leaves, each round: {len(leaves['tensors'])} tensors of model weights, "
        f"{size(leaves['bytes_per_round'])} ({size(leaves['bytes_total'])} in all)",
        *(_tensor_lines(leaves["tensors"]) if tensors else _group_lines(leaves["groups"])),
        "  and these numbers, once per round:",
        "  the number of training samples, " + ", ".join(leaves["metrics"]) + ", seconds of work;",
        "  the hospital's name in the study.",
        f"  Scores are means over {_frames(facts['validation_frames'])} of the validation cases.",
        "",
        f"What stays: frames, masks, file and case names, and {size(stays['bytes'])} of private weights",
        *_group_lines(stays["groups"]),
        *_own_lines(stays["own_model_bytes"], follows=stays["own_model_follows"]),
        *([] if stays["bytes"] else ["  This method has no private weights."]),
        "  The trainer's own state stays too.",
        *_magnified_lines(stays["magnified_at_most"]),
        "",
        "Weights are not frames, but they are learned from frames: see docs/privacy.md for what that can mean.",
        "",
        f"Digest of the study     {facts['digest']}",
        f"Digest of the tensors   {facts['contract']}",
        "Compare the first with the coordinator's by telephone. Then: fedsurg site approve STUDY.toml",
    ]
    return "\n".join(lines)


def _frames(most: int) -> str:
    """Of a validation in a round; the last is over all."""
    return f"{plural(most, 'frame')} at most" if most else "all frames"


def _own_lines(own: int, *, follows: bool) -> list[str]:
    """Of a model that the hospital has for itself beside the shared one."""
    if not own:
        return []
    lines = ["  a model of this hospital's own", f"    {'the whole network, once more':<53} {size(own):>10}"]
    said = "    an average of what leaves: all of it but private weights can be worked out by who receives that"
    return [*lines, said] if follows else lines


def _magnified_lines(largest: float) -> list[str]:
    """Of the factor by which a site enlarges its frames."""
    if largest == 1:
        return []
    return [
        f"  Frames may be enlarged, up to {largest:g} times, where instruments look small; the factor is found in this",
        "  hospital's training labels and stays here.",
    ]


def _group_lines(groups: list[dict[str, Any]]) -> list[str]:
    lines, part = [], ""
    for row in groups:
        if row["part"] != part:
            part = row["part"]
            lines.append(f"  {_PARTS.get(part, part)}")
        lines.append(f"    {row['names']:<40} {plural(row['tensors'], 'tensor'):>12} {size(row['bytes']):>10}")
    return lines


def _tensor_lines(tensors: list[dict[str, Any]]) -> list[str]:
    return [f"    {row['name']:<60} {'x'.join(map(str, row['shape'])):>16} {row['bytes']:>12,} B" for row in tensors]


def _time(seconds: float) -> str:
    """An upper bound for a person: never less than it is."""
    return f"{math.ceil(seconds / 60)} minutes" if seconds < 7200 else f"{math.ceil(seconds / 360) / 10:g} hours"
