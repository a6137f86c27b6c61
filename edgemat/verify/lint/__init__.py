"""Lint of artefacts: rules that find what a conversion, a phone or an app team will stumble over, without a phone."""
