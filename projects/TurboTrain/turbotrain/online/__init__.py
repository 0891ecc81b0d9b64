"""Trained models on live data: an inferencer, and a sender and an ego that exchange messages."""

from .channel import Channel
from .ego import Ego
from .inferencer import CooperativeInferencer
from .message import MapMessage, MessageError, pack, unpack
from .moment import AgentClouds, Moment
from .recording import Recording, open_recording
from .sender import Sender
from .trunk import OnlineModel

__all__ = [
    'AgentClouds',
    'Channel',
    'CooperativeInferencer',
    'Ego',
    'MapMessage',
    'MessageError',
    'Moment',
    'OnlineModel',
    'Recording',
    'Sender',
    'open_recording',
    'pack',
    'unpack',
]
