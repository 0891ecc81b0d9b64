"""Trained models on live data: an inferencer, and a sender and an ego that exchange messages."""

from .inferencer import CooperativeInferencer
from .moment import AgentClouds, Moment

__all__ = ['AgentClouds', 'CooperativeInferencer', 'Moment']
