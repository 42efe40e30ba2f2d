"""Intents: what a sentence asks for, and which of its words tell the details."""
