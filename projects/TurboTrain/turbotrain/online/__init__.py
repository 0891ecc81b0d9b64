"""Trained models on live data: an inferencer, and a sender and an ego that exchange messages."""

from .ego import Ego
from .inferencer import CooperativeInferencer
from .message import MapMessage, MessageError, pack, unpack
from .moment import AgentClouds, Moment
from .sender import Sender
from .trunk import OnlineModel

__all__ = [
    'AgentClouds',
    'CooperativeInferencer',
    'Ego',
    'MapMessage',
    'MessageError',
    'Moment',
    'OnlineModel',
    'Sender',
    'pack',
    'unpack',
]
