"""Tokenizers behind one small interface; the one door to `sentencepiece` and `tokenizers`."""

from data.tokenizers.choices import Bytes, Characters, SentencePiece, TokenizerChoice, TokenizerJSON, WordPiece

__all__ = ["Bytes", "Characters", "SentencePiece", "TokenizerChoice", "TokenizerJSON", "WordPiece"]
