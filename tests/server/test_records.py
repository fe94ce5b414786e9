"""Bytes on the wire, of real messages at the size of the paper."""

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Error, Message, RecordDict

from fedsurg.errors import ContractError
from fedsurg.learning.exchange import give_shared
from fedsurg.methods import METHODS
from fedsurg.models import build_network
from fedsurg.sharing.contract import Contract
from fedsurg.sharing.protocol import Request
from fedsurg.sharing.update import Update
from fedsurg.study.config import NetworkConfig, TemporalConfig
from server.records import Outgoing, message_bytes, read_reply
from simulations.inline import RUN_ID, InlineGrid

MIB = 2**20


@pytest.fixture(scope="module")
def network() -> object:
    """256 pyramid and 128 segmentation channels, four classes, all private parts."""
    return build_network(NetworkConfig(), 4, text_vector=torch.ones(384), adapters=True, seed=0)


@pytest.fixture(autouse=True)
def _flower() -> None:
    """An engine tells Flower who is writing before messages can be made."""
    InlineGrid(lambda message, context: message, 1, 1.0)  # type: ignore[arg-type]
    assert RUN_ID


def sent(contract: Contract, update: Update) -> int:
    request = Request("0" * 64, contract.digest, 1)
    return message_bytes(Outgoing(request, update, 3600.0).to(10))


def test_must_hold_4_the_lite_message_is_at_most_12_70_mib() -> None:
    """As published: the encoder without its queries. The temporal layer, on top of that, is 0.42 MiB."""
    bare = build_network(NetworkConfig(temporal=TemporalConfig(enabled=False)), 4, adapters=True, seed=0)
    contract = Contract.of(bare, METHODS["fedst-lite"].scopes({}))
    assert contract.bytes_per_message == 4 * (3_409_760 - 193_536)
    assert sent(contract, give_shared(bare, contract)) <= 12.70 * MIB


def test_must_hold_4_the_lite_message_with_the_temporal_layer(network: object) -> None:
    contract = Contract.of(network, METHODS["fedst-lite"].scopes({}))  # type: ignore[arg-type]
    assert contract.bytes_per_message == 4 * (3_409_760 - 193_536 + 109_312)
    assert sent(contract, give_shared(network, contract)) <= 12.70 * MIB  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["fedst", "fedavg", "feddp"])
def test_must_hold_4_other_messages_are_their_tensors_plus_framing(network: object, method: str) -> None:
    contract = Contract.of(network, METHODS[method].scopes({"gate": "site", "adapters": "site"}))  # type: ignore[arg-type]
    tensors = contract.bytes_per_message
    assert tensors <= sent(contract, give_shared(network, contract)) < 1.01 * tensors  # type: ignore[arg-type]


def asked() -> Message:
    """A request that was sent, to reply to."""
    message = Outgoing(Request("s", "c", 1), Update.of({"a": np.zeros(1, np.float32)}), 5.0).to(10)
    message.metadata.__dict__["_message_id"] = "1"
    return message


@pytest.mark.parametrize(("code", "said"), [(3, "no answer in time"), (5, "the connection to its node is lost")])
def test_what_the_superlink_says_in_place_of_a_site(code: int, said: str) -> None:
    with pytest.raises(ContractError, match=f"^{said}$"):
        read_reply(Message(Error(code, "Message Unavailable - It could not be found."), reply_to=asked()))


def test_a_reply_whose_content_is_no_dictionary_of_records() -> None:
    reply = Message(RecordDict(), reply_to=asked())
    reply.__dict__["_content"] = ConfigRecord({"update": 1, "layout": 1, "report": 1, "origin": 1})
    with pytest.raises(ContractError, match=r"^the reply cannot be read \(AttributeError\)$"):
        read_reply(reply)


def test_what_a_site_says_of_its_error_steers_no_terminal() -> None:
    with pytest.raises(ContractError, match=r"^the site failed: \?\[2J\?hospital-b refused; its own log says why$"):
        read_reply(Message(Error(101, "\x1b[2J\nhospital-b refused"), reply_to=asked()))


@pytest.mark.parametrize("name", ["OutOfMemoryError", "MemoryError"])
def test_a_site_that_is_short_of_memory_is_told_apart(name: str) -> None:
    with pytest.raises(ContractError, match=rf"^the site failed: {name}; .*local\.batch_size.*--jobs$"):
        read_reply(Message(Error(101, name), reply_to=asked()))
