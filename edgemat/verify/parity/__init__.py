"""Parity: is every artefact of an export what was trained, and what does its precision cost?"""
