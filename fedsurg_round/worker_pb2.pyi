from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WorkPart(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: RequestHeader
    chunk: bytes
    def __init__(self, header: _Optional[_Union[RequestHeader, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class WorkEvent(_message.Message):
    __slots__ = ("progress", "header", "chunk")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    header: ReplyHeader
    chunk: bytes
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., header: _Optional[_Union[ReplyHeader, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class RequestHeader(_message.Message):
    __slots__ = ("request", "layout", "head", "certificate")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    request: Request
    layout: Layout
    head: SignedHead
    certificate: str
    def __init__(self, request: _Optional[_Union[Request, _Mapping]] = ..., layout: _Optional[_Union[Layout, _Mapping]] = ..., head: _Optional[_Union[SignedHead, _Mapping]] = ..., certificate: _Optional[str] = ...) -> None: ...

class ReplyHeader(_message.Message):
    __slots__ = ("site", "report", "layout", "head")
    SITE_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    site: str
    report: Report
    layout: Layout
    head: SignedHead
    def __init__(self, site: _Optional[str] = ..., report: _Optional[_Union[Report, _Mapping]] = ..., layout: _Optional[_Union[Layout, _Mapping]] = ..., head: _Optional[_Union[SignedHead, _Mapping]] = ...) -> None: ...

class Request(_message.Message):
    __slots__ = ("study", "contract", "round", "work")
    STUDY_FIELD_NUMBER: _ClassVar[int]
    CONTRACT_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    WORK_FIELD_NUMBER: _ClassVar[int]
    study: str
    contract: str
    round: int
    work: str
    def __init__(self, study: _Optional[str] = ..., contract: _Optional[str] = ..., round: _Optional[int] = ..., work: _Optional[str] = ...) -> None: ...

class Layout(_message.Message):
    __slots__ = ("names", "shapes", "dtype", "bytes")
    NAMES_FIELD_NUMBER: _ClassVar[int]
    SHAPES_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    shapes: _containers.RepeatedScalarFieldContainer[str]
    dtype: str
    bytes: int
    def __init__(self, names: _Optional[_Iterable[str]] = ..., shapes: _Optional[_Iterable[str]] = ..., dtype: _Optional[str] = ..., bytes: _Optional[int] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("samples", "train_loss", "received_loss", "received_dice", "received_iou", "trained_loss", "trained_dice", "trained_iou", "train_s", "validate_s", "data_s", "other_s")
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    TRAIN_LOSS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_LOSS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_DICE_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_IOU_FIELD_NUMBER: _ClassVar[int]
    TRAINED_LOSS_FIELD_NUMBER: _ClassVar[int]
    TRAINED_DICE_FIELD_NUMBER: _ClassVar[int]
    TRAINED_IOU_FIELD_NUMBER: _ClassVar[int]
    TRAIN_S_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_S_FIELD_NUMBER: _ClassVar[int]
    DATA_S_FIELD_NUMBER: _ClassVar[int]
    OTHER_S_FIELD_NUMBER: _ClassVar[int]
    samples: int
    train_loss: float
    received_loss: float
    received_dice: float
    received_iou: float
    trained_loss: float
    trained_dice: float
    trained_iou: float
    train_s: float
    validate_s: float
    data_s: float
    other_s: float
    def __init__(self, samples: _Optional[int] = ..., train_loss: _Optional[float] = ..., received_loss: _Optional[float] = ..., received_dice: _Optional[float] = ..., received_iou: _Optional[float] = ..., trained_loss: _Optional[float] = ..., trained_dice: _Optional[float] = ..., trained_iou: _Optional[float] = ..., train_s: _Optional[float] = ..., validate_s: _Optional[float] = ..., data_s: _Optional[float] = ..., other_s: _Optional[float] = ...) -> None: ...

class SignedHead(_message.Message):
    __slots__ = ("log", "sequence", "sha256", "time", "signature")
    LOG_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    log: str
    sequence: int
    sha256: str
    time: str
    signature: str
    def __init__(self, log: _Optional[str] = ..., sequence: _Optional[int] = ..., sha256: _Optional[str] = ..., time: _Optional[str] = ..., signature: _Optional[str] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("phase", "step", "steps", "seconds")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    phase: str
    step: int
    steps: int
    seconds: float
    def __init__(self, phase: _Optional[str] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., seconds: _Optional[float] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WorkerStatus(_message.Message):
    __slots__ = ("site", "version", "state", "request", "progress", "last")
    SITE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    site: str
    version: str
    state: str
    request: Request
    progress: Progress
    last: str
    def __init__(self, site: _Optional[str] = ..., version: _Optional[str] = ..., state: _Optional[str] = ..., request: _Optional[_Union[Request, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., last: _Optional[str] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CancelReply(_message.Message):
    __slots__ = ("cancelled",)
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    cancelled: bool
    def __init__(self, cancelled: bool = ...) -> None: ...
